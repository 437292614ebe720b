"""evenstream on Kafka: records, roles, and the command line. May import the other three rooms; they never import it."""
