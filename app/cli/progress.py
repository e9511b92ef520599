"""Shows the progress of a long command on standard error, with a progress bar if that is a terminal."""

import contextlib
import sys
from collections.abc import Callable, Iterator

import click


class Progress:
    """Follows upgrades and copies for the operator."""

    def waits(self, holder: str) -> None:
        """Say which process this command waits for."""
        self.says(f"Waiting for {holder}, which is at work on the schema.")

    def says(self, text: str) -> None:
        """Print something that is not the command's result."""
        click.echo(text, err=True)

    @contextlib.contextmanager
    def follows(self, title: str, length: int | None) -> Iterator[Callable[[int], None]]:
        """Show one step. A step without a known length is short."""
        with click.progressbar(length=length or 1, label=title, file=sys.stderr) as bar:
            yield bar.update
            if not length:
                bar.update(1)
