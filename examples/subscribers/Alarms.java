import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Prints a line for each alarm, and for each window that says nothing. With kafka-clients and jackson-databind:
 * java -cp 'LIBS/*' Alarms.java HOST:PORT DEPLOYMENT
 */
public class Alarms {
    public static void main(String[] arguments) throws Exception {
        String deployment = arguments[1];
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", arguments[0],
            "group.id", deployment + ".company.alarms-java",
            "auto.offset.reset", "earliest",
            "isolation.level", "read_committed", // Java's default shows what an aborted transaction left
            "enable.auto.commit", false);
        // The last ids, in their order: a record may come twice, with the same one.
        Set<String> seen = Collections.newSetFromMap(new LinkedHashMap<>() {
            @Override
            protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
                return size() > 100_000;
            }
        });
        ObjectMapper json = new ObjectMapper();
        try (var consumer = new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(deployment + ".fairness-metrics"));
            while (true) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                    if (seen.add(header(record, "ce_id"))) {
                        tell(header(record, "ce_subject") + " " + header(record, "ce_time"),
                            json.readTree(record.value()));
                    }
                }
                consumer.commitSync(); // what was dealt with
            }
        }
    }

    private static void tell(String where, JsonNode window) {
        String status = window.get("status").asText();
        if (!status.equals("published")) { // void, suppressed, withdrawn: never keep the value before
            System.out.println(where + " " + status + " " + window.get("reason").asText());
        }
        for (JsonNode result : window.get("results")) {
            long since = result.path("alarm_since_ms").asLong(-1);
            if (since == window.get("window").get("end_ms").asLong()) { // it begins with this window
                System.out.println(where + " ALARM " + result.get("group").asText() + " "
                    + result.get("metric").asText() + " " + result.get("gap"));
            }
        }
    }

    private static String header(ConsumerRecord<byte[], byte[]> record, String name) {
        return new String(record.headers().lastHeader(name).value(), StandardCharsets.UTF_8);
    }
}
