"""`python -m bobrapet.cli` is `bobrapet`."""

from bobrapet.cli.main import main

main()
