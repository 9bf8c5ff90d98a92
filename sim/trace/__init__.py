"""What a run looked like: instructions over time, where each engine's cycles went, counts by layer, timelines."""
