"""A part of a collection, for jobs that share it."""

import zlib
from dataclasses import dataclass

from emolabel.errors import ConfigError


@dataclass(frozen=True)
class Shard:
    """Part `number` of `of`, counted from 1: about as many inputs as any other part."""

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ConfigError(f"--shard takes K/N with K from 1 to N, got {self.number}/{self.of}")

    @staticmethod
    def parse(text: str) -> "Shard":
        """`3/16` is the third of sixteen parts.

        Raises:
            ConfigError: it is not of that form.

        >>> Shard.parse("3/16")
        Shard(number=3, of=16)
        """
        number, _, of = text.partition("/")
        if not (number.isdecimal() and of.isdecimal()):
            raise ConfigError(f"--shard takes K/N with K from 1 to N, got {text}")
        return Shard(int(number), int(of))

    def has(self, name: str) -> bool:
        """Whether an input is in this part. It stays there when it is replaced, or when others come and go."""
        return zlib.crc32(name.encode(errors="surrogateescape")) % self.of == self.number - 1


ALL = Shard()
