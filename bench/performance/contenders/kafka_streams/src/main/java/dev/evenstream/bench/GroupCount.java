package dev.evenstream.bench;

import static org.apache.kafka.streams.StreamsConfig.APPLICATION_ID_CONFIG;
import static org.apache.kafka.streams.StreamsConfig.BOOTSTRAP_SERVERS_CONFIG;
import static org.apache.kafka.streams.StreamsConfig.NUM_STREAM_THREADS_CONFIG;
import static org.apache.kafka.streams.StreamsConfig.PROCESSING_GUARANTEE_CONFIG;
import static org.apache.kafka.streams.StreamsConfig.STATE_DIR_CONFIG;

import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.WindowedSerdes;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorSupplier;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Kafka Streams' windowed count of events by group, as its developer guide does it: group by the record's key, tumbling
 * windows by the record's time, one aggregate a window in a window store with its record cache, updates to a topic.
 *
 * <p>Reads the bench's arguments and prints its marks (bench/performance/contenders/program.py).
 */
public final class GroupCount {
    private static final Duration WINDOW = Duration.ofSeconds(1);

    private GroupCount() {}

    /** Counts, and ends by itself. */
    public static void main(String[] words) throws InterruptedException {
        Map<String, String> task = new HashMap<>();
        for (int i = 0; i + 1 < words.length; i += 2) {
            task.put(words[i], words[i + 1]);
        }
        long events = Long.parseLong(task.get("--events"));
        long perPartition = events / Integer.parseInt(task.get("--partitions"));
        CountDownLatch done = new CountDownLatch(1);
        AtomicLong counted = new AtomicLong();
        Topology topology = topology(
            task,
            () -> new FirstEvents(perPartition, events, counted, name -> mark("{\"mark\":\"" + name + "\"}"), done::countDown));
        int[] status = {0};
        KafkaStreams streams = new KafkaStreams(topology, properties(task));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            status[0] = 1;
            done.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        done.await();
        streams.close(); // commits: caches are flushed, updates written and acknowledged, positions committed
        if (status[0] == 0) {
            mark("{\"mark\":\"done\",\"events\":" + counted.get() + "}");
        }
        System.exit(status[0]);
    }

    private static Topology topology(
        Map<String, String> task,
        FixedKeyProcessorSupplier<String, Event, Event> firstEvents) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(task.get("--topic"), Consumed.with(Serdes.String(), Event.serde()))
            .processValues(firstEvents)
            .groupByKey(Grouped.with(Serdes.String(), Event.serde()))
            .windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, WINDOW))
            .aggregate(
                () -> Counts.NONE,
                (group, event, counts) -> counts.plus(event),
                Materialized.<String, Counts, WindowStore<Bytes, byte[]>>as("counts")
                    .withKeySerde(Serdes.String())
                    .withValueSerde(Counts.serde()))
            .toStream()
            .to(
                task.get("--output"),
                Produced.with(WindowedSerdes.timeWindowedSerdeFrom(String.class, WINDOW.toMillis()), Counts.serde()));
        return builder.build();
    }

    private static Properties properties(Map<String, String> task) {
        Properties properties = new Properties();
        properties.put(APPLICATION_ID_CONFIG, task.get("--output"));
        properties.put(BOOTSTRAP_SERVERS_CONFIG, task.get("--bootstrap"));
        properties.put(STATE_DIR_CONFIG, task.get("--state-dir"));
        properties.put(NUM_STREAM_THREADS_CONFIG, task.getOrDefault("--threads", "1"));
        properties.put(PROCESSING_GUARANTEE_CONFIG, task.getOrDefault("--guarantee", StreamsConfig.AT_LEAST_ONCE));
        properties.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        return properties;
    }

    private static void mark(String line) {
        System.out.println(line);
        System.out.flush();
    }
}
