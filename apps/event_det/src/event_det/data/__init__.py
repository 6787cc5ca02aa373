"""Labelled recordings: RVT's layout, the data sets that come in it, and what a recurrent network is trained with.

`open_split(config, "train")` gives an `EventSet`: all steps (windows of 50 ms) of all recordings, one after another.
A sample is a dict: frames uint8 [C, H, W], boxes float32 [N, 4] as xyxy in pixels and labels int64 [N] (both None where
nobody labelled), timestamp (microseconds, the end of the window), recording (name), first (a recording begins),
standing (bool [N], or None where it is not known).

`Clips(split, length, ...)` are the samples of training: sequences of `length` steps. `clips.order` is the order for
`Run.loader`, `collate` makes the batch: frames uint8 [L, B, C, H, W] (of a set in sparse storage after `.to(device)`),
targets (L lists of B entries, each (boxes, labels) or None), first bool [B].
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
