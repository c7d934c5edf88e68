"""Measures one detector: inference, training, memory, multiply-accumulates, AP; ours or a peer's."""
