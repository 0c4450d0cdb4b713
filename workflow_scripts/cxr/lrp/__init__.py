"""Layer-wise relevance propagation, by two implementations."""
