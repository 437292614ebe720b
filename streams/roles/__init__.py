"""The five roles. Each is a pure stage (``streams.stage``) and a module that runs it on Kafka."""
