"""From ONNX to target code: graph, passes, tensor IR, schedules and targets."""
