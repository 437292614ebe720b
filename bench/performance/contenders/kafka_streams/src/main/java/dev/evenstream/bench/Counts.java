package dev.evenstream.bench;

import java.nio.ByteBuffer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/**
 * What is counted of one group in one window: two counts in one aggregate, so that the record's own key serves and
 * nothing is written to Kafka and read again to be grouped anew.
 *
 * <p>As bytes: partition (int), not recommended (long), recommended (long), big endian.
 */
record Counts(int partition, long passedOver, long recommended) {
    static final Counts NONE = new Counts(-1, 0, 0);
    private static final int BYTES = Integer.BYTES + 2 * Long.BYTES;

    Counts plus(Event event) {
        return event.recommended
            ? new Counts(event.partition, passedOver, recommended + 1)
            : new Counts(event.partition, passedOver + 1, recommended);
    }

    static Serde<Counts> serde() {
        return Serdes.serdeFrom(
            (topic, counts) -> counts == null
                ? null
                : ByteBuffer.allocate(BYTES)
                    .putInt(counts.partition)
                    .putLong(counts.passedOver)
                    .putLong(counts.recommended)
                    .array(),
            (topic, bytes) -> {
                if (bytes == null) {
                    return null;
                }
                ByteBuffer buffer = ByteBuffer.wrap(bytes);
                return new Counts(buffer.getInt(), buffer.getLong(), buffer.getLong());
            });
    }
}
