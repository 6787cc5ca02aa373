"""`python -m camo_seg` is the command camo-seg; accelerate launch -m camo_seg train runs it in several processes."""

from camo_seg.cli import main

main()
