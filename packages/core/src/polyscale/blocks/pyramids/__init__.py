"""Pyramids of feature maps: FPN, PAFPN, a pyramid from one map, pooling pyramids, U-Net."""
