"""`python -m app_name`, also below accelerate launch, is the command app-name."""

from app_name.cli import main

main()
