"""The binary files of Prophesee's cameras: DAT, and RAW in EVT2, EVT2.1 and EVT3."""
