"""`python -m caption_det`, also below accelerate launch, is the command caption-det."""

from caption_det.cli import main

main()
