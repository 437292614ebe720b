package dev.evenstream.bench;

import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Consumer;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.processor.api.RecordMetadata;

/** Lets through the events that the bench asked for, and says when the first, the half and all of them were counted. */
final class FirstEvents extends ContextualFixedKeyProcessor<String, Event, Event> {
    private final long perPartition;
    private final AtomicLong counted;
    private final long events;
    private final Consumer<String> mark;
    private final Runnable done;

    FirstEvents(long perPartition, long events, AtomicLong counted, Consumer<String> mark, Runnable done) {
        this.perPartition = perPartition;
        this.events = events;
        this.counted = counted;
        this.mark = mark;
        this.done = done;
    }

    @Override
    public void process(FixedKeyRecord<String, Event> record) {
        Event event = record.value();
        RecordMetadata place = context().recordMetadata().orElseThrow();
        if (event == null || place.offset() >= perPartition) {
            return;
        }
        event.partition = place.partition();
        // Everything downstream has happened when forward returns: it is one chain of calls.
        context().forward(record);
        long sofar = counted.incrementAndGet();
        if (sofar == 1) {
            mark.accept("first");
        }
        if (sofar == events / 2) { // by then the virtual machine has compiled what is hot
            mark.accept("half");
        }
        if (sofar == events) {
            done.run();
        }
    }
}
