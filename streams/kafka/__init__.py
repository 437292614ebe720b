"""Everything that talks to Kafka: clients, the shard loop, topics, and a broker for a developer's machine."""
