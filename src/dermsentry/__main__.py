"""`python -m dermsentry` is `dermsentry`."""

from dermsentry.cli import main

if __name__ == "__main__":
    main()
