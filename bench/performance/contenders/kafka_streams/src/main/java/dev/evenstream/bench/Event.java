package dev.evenstream.bench;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;

/** An event's fields that a count needs, by Jackson's data binding, the way that Kafka's own examples read JSON. */
@JsonIgnoreProperties(ignoreUnknown = true)
public final class Event {
    public String group;
    public boolean recommended;

    /** The partition that it came from: a partial count carries it, so that a reader can tell partial counts apart. */
    int partition;

    static Serde<Event> serde() {
        ObjectMapper mapper = new ObjectMapper();
        ObjectReader reader = mapper.readerFor(Event.class);
        ObjectWriter writer = mapper.writerFor(Event.class);
        Deserializer<Event> from = (topic, bytes) -> {
            if (bytes == null || bytes.length == 0) { // the record that ends the log
                return null;
            }
            try {
                return reader.readValue(bytes);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        };
        Serializer<Event> to = (topic, event) -> {
            try {
                return writer.writeValueAsBytes(event);
            } catch (IOException error) {
                throw new UncheckedIOException(error);
            }
        };
        return Serdes.serdeFrom(to, from);
    }
}
