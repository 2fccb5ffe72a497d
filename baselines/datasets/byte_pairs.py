"""A byte-pair vocabulary of CLIP's form for a small language, in the two formats that CLIP's tokenizers read.

Ids are open_clip's: 256 bytes, the same at the end of a word, one for each merge, start and end of text.
Sennrich et al., 2016 (arXiv:1508.07909), section 3.2.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

END_OF_WORD = "</w>"
START, END = "<|startoftext|>", "<|endoftext|>"  # open_clip spells them otherwise; their ids are the last two
Merge = tuple[str, str]


def byte_symbols() -> list[str]:
    """CLIP's printable character for each byte, in the order of its vocabulary."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def learn_merges(texts: Iterable[str]) -> list[Merge]:
    """Most frequent pairs first (ties: smallest), until every word of the ASCII texts is one symbol."""
    counts = Counter(word for text in texts for word in re.findall(r"[a-z]+|[^\sa-z]+", text.lower()))
    words = {word: [*word[:-1], word[-1] + END_OF_WORD] for word in counts}
    merges: list[Merge] = []
    while True:
        pairs: Counter[Merge] = Counter()
        for word, symbols in words.items():
            for pair in pairwise(symbols):
                pairs[pair] += counts[word]
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {word: _merged(symbols, best) for word, symbols in words.items()}


def _merged(symbols: list[str], pair: Merge) -> list[str]:
    found: list[str] = []
    for symbol in symbols:
        if found and (found[-1], symbol) == pair:
            found[-1] += symbol
        else:
            found.append(symbol)
    return found


def vocabulary(merges: Iterable[Merge]) -> dict[str, int]:
    """Id of each token."""
    symbols = byte_symbols()
    tokens = [*symbols, *(symbol + END_OF_WORD for symbol in symbols), *map("".join, merges), START, END]
    return {token: number for number, token in enumerate(tokens)}


def open_clip_file(merges: Iterable[Merge]) -> bytes:
    """What ``open_clip.SimpleTokenizer(bpe_path=...)`` reads: a header, then a merge a line.

    No newline ends it: that tokenizer would take the empty line for one merge more.
    """
    lines = ["#version: 0.2", *map(" ".join, merges)]
    return gzip.compress("\n".join(lines).encode(), mtime=0)


def read_merges(path: Path) -> list[Merge]:
    """The merges of a file for open_clip."""
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1:]
    return [(first, second) for first, second in (line.split() for line in lines)]


def clip_tokenizer_files(merges: Sequence[Merge], context: int) -> dict[str, str]:
    """Files of a folder that transformers' ``CLIPTokenizer`` loads, by name."""
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": context,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
    }
    return {
        "vocab.json": json.dumps(vocabulary(merges), ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n",
        "tokenizer_config.json": json.dumps(settings, indent=1) + "\n",
    }
