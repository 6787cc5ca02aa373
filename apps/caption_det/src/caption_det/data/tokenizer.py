"""Tokenizers of captions that need no hub: a byte-level BPE trained on them, or GPT-2's from files or the cache."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from polyscale.errors import UserError, first_line
from polyscale.models.hub import hub

START, END, PAD = "<start>", "<end>", "<pad>"


def train_tokenizer(captions: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on captions; every text can be written with it.

    The result depends on the captions alone. Text is not changed: case and punctuation are the captions' own.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[START, END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    return wrap(tokenizer)


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Return a tokenizer with its special tokens, as transformers saves and loads it."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )


def open_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """Return GPT-2's tokenizer, or one with the same files, from a folder, the cache or the hub.

    A folder holds tokenizer.json, or vocab.json and merges.txt. START and PAD are added where it has none.

    Raises:
        UserError: it can neither be found nor fetched.
    """
    from transformers import AutoTokenizer, GPT2TokenizerFast

    folder = Path(name)
    try:
        if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
            files = {"vocab": folder / "vocab.json", "merges": folder / "merges.txt"}
            loaded = GPT2TokenizerFast(
                tokenizer_object=_byte_level(*map(str, files.values())), eos_token="<|endoftext|>"
            )
        elif folder.is_dir():
            loaded = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
        else:
            with hub():
                loaded = AutoTokenizer.from_pretrained(name, use_fast=True)
    except (OSError, ValueError) as error:
        raise UserError(f"data.tokenizer {name}: cannot be loaded ({first_line(error)}); give a folder with its files, "
                        "or captions to train one on the captions") from error  # fmt: skip
    return _completed(loaded)


def _byte_level(vocab: str, merges: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE.from_file(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _completed(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Give it a start and a padding of its own, so that the end of a caption is learnt and padding is not."""
    if tokenizer.eos_token is None:
        tokenizer.add_special_tokens({"eos_token": END})
    tokenizer.add_special_tokens({"bos_token": START, "pad_token": PAD})
    return tokenizer
