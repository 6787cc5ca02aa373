"""`python -m iqa` is the command iqa; accelerate launch -m iqa train runs it in several processes."""

from iqa.cli import main

main()
