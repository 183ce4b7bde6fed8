"""What a receiver counts, and how Prometheus is told."""
