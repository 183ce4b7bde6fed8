"""What a receiver counts, and how Prometheus gets it."""
