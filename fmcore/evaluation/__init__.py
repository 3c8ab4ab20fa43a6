"""What a detector is worth: metrics with intervals, evaluation of a model, sweeps, timings, and a benchmark."""
