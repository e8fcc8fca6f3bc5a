"""A tiny random classifier and a tiny tokenizer of the right sort for every family the library knows; no files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import ByteLevel, Metaspace, Whitespace
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from distill_core.data.tasks import get_task
from distill_core.models.encoder import LoadedModel, save_model
from distill_core.models.tokenization import Encoded, Inputs, collate, encode
from tests.support.tiny import WORDS

TEXTS: tuple[tuple[str, str | None], ...] = (
    ("the film is good", None),
    ("a bad , boring story ! not funny", "the actings was slowly awful"),
    ("great", None),
    ("loves the music and hates the plot", None),
    ("fast and bright", "dull"),
)
_WHOLE = [word for word in WORDS if word.isalpha()]
_PARTS = ["s", "ly", "ing", ".", ",", "!"]
_LETTERS = list("abcdefghijklmnopqrstuvwxyz")
BERT_MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_MARKS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def _wordpiece(marks: tuple[str, ...], unknown: str) -> Tokenizer:
    vocabulary = [*marks, *_WHOLE, *_PARTS, *(f"##{part}" for part in _PARTS)]
    core = Tokenizer(WordPiece({piece: index for index, piece in enumerate(vocabulary)}, unk_token=unknown))
    core.normalizer = Lowercase()
    core.pre_tokenizer = Whitespace()
    return core


def _bytes(marks: tuple[str, ...], unknown: str) -> Tokenizer:
    core = Tokenizer(BPE(unk_token=unknown))
    core.pre_tokenizer = ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=400, special_tokens=list(marks), initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    core.train_from_iterator([" ".join(["", *_WHOLE])] * 3, trainer)
    return core


def _unigram(marks: tuple[str, ...], unknown: str) -> Tokenizer:
    pieces = [(mark, 0.0) for mark in marks] + [(f"▁{word}", -3.0) for word in _WHOLE]
    pieces += [(part, -4.0) for part in _PARTS] + [("▁", -6.0)]
    pieces += [(letter, -9.0) for letter in _LETTERS if letter not in _PARTS]
    core = Tokenizer(Unigram(pieces, unk_id=marks.index(unknown)))
    core.pre_tokenizer = Metaspace()
    return core


@dataclass(frozen=True)
class Sort:
    """A sort of tokenizer: its special tokens in the order of their ids, its template, and whether it tells types."""

    core: Callable[[tuple[str, ...], str], Tokenizer]
    marks: tuple[str, ...]
    types: bool

    def tokenizer(self, limit: int = 64) -> PreTrainedTokenizerFast:
        """Return a tiny tokenizer of this sort."""
        named = {mark.strip("<>[]/").lower(): mark for mark in self.marks}
        first, last = ("<s>", "</s>") if "<s>" in self.marks else ("[CLS]", "[SEP]")
        unknown = named["unk"]
        core = self.core(self.marks, unknown)
        second = ":1" if self.types else ""
        between = "" if first == "[CLS]" else f"{last} "
        core.post_processor = TemplateProcessing(
            single=f"{first} $A {last}",
            pair=f"{first} $A {last} {between}$B{second} {last}{second}",
            special_tokens=[(mark, self.marks.index(mark)) for mark in (first, last)],
        )
        names = ["input_ids", "token_type_ids", "attention_mask"] if self.types else ["input_ids", "attention_mask"]
        return PreTrainedTokenizerFast(
            tokenizer_object=core,
            unk_token=unknown,
            pad_token=named["pad"],
            cls_token=first,
            sep_token=last,
            mask_token=named["mask"],
            model_max_length=limit,
            model_input_names=names,
        )


_MPNET_MARKS = ("<s>", "<pad>", "</s>", "[UNK]", "<mask>")
_ALBERT_MARKS = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
_DEBERTA_MARKS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")


@dataclass(frozen=True)
class Family:
    """One family: its model_type, its sort of tokenizer, what its config needs, the mark of its word pieces."""

    kind: str
    sort: Sort
    start: str = ""  # of a word's first piece
    settings: Mapping[str, Any] = field(default_factory=dict)


_BERT_LIKE = Sort(_wordpiece, BERT_MARKS, types=True)
_ROBERTA_LIKE = Sort(_bytes, ROBERTA_MARKS, types=False)
_XLM_LIKE = Sort(_unigram, ROBERTA_MARKS, types=False)
_DEBERTA_LIKE = Sort(_unigram, _DEBERTA_MARKS, types=True)
_FROM_TWO = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "max_position_embeddings": 66}
_RELATIVE = {
    "relative_attention": True,
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
FAMILIES: Mapping[str, Family] = {
    "bert": Family("bert", _BERT_LIKE),
    "distilbert": Family(
        "distilbert", Sort(_wordpiece, BERT_MARKS, types=False), settings={"dim": 16, "hidden_dim": 32}
    ),
    "roberta": Family("roberta", _ROBERTA_LIKE, "Ġ", {**_FROM_TWO, "type_vocab_size": 1}),
    "xlm-roberta": Family("xlm-roberta", _XLM_LIKE, "▁", {**_FROM_TWO, "type_vocab_size": 1}),
    "camembert": Family("camembert", _XLM_LIKE, "▁", {**_FROM_TWO, "type_vocab_size": 1}),
    "albert": Family("albert", Sort(_unigram, _ALBERT_MARKS, types=True), "▁", {"embedding_size": 8}),
    "electra": Family("electra", _BERT_LIKE, settings={"embedding_size": 8}),
    "deberta-v2": Family(  # as published, with the convolution of its largest ones
        "deberta-v2", _DEBERTA_LIKE, "▁", {**_RELATIVE, "conv_kernel_size": 3, "conv_act": "gelu"}
    ),
    "deberta-v3": Family("deberta-v2", _DEBERTA_LIKE, "▁", _RELATIVE),
    "deberta-absolute": Family("deberta-v2", _DEBERTA_LIKE, "▁", {"type_vocab_size": 2, "embedding_size": 8}),
    "mpnet": Family(
        "mpnet",
        Sort(_wordpiece, _MPNET_MARKS, types=False),
        settings={**_FROM_TWO, "relative_attention_num_buckets": 32},
    ),
}


def family_network(
    name: str, *, layers: int = 2, classes: int = 3, dropout: float = 0.0, seed: int = 0, **settings: Any
) -> PreTrainedModel:
    """Return a random classifier in eval mode with weights large enough that maps differ between tokens."""
    family = FAMILIES[name]
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
        "vocab_size": len(family.sort.tokenizer()),
        "pad_token_id": 0,
        "num_labels": classes,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    if family.kind == "distilbert":
        sizes |= {"n_layers": layers, "n_heads": 2, "dropout": dropout, "attention_dropout": dropout}
        for other in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"):
            del sizes[other]
    config = AutoConfig.for_model(family.kind, **(sizes | dict(family.settings) | settings))
    torch.manual_seed(seed)
    network = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for label, parameter in network.named_parameters():
            if "layernorm" not in label.lower().replace("_", ""):
                parameter.normal_(std=0.3)
    return cast(PreTrainedModel, network.eval())


def family_model(name: str, **settings: Any) -> LoadedModel:
    """Return a network of the family with its tokenizer as an open model."""
    network = family_network(name, **settings).requires_grad_(False)
    labels = tuple(f"class {index}" for index in range(network.config.num_labels))
    return LoadedModel(name, Path("nowhere"), network, FAMILIES[name].sort.tokenizer(), labels, name)


def sentiment_folder(path: Path, name: str, seed: int = 0) -> Path:
    """Save a network of the family with SST-2's classes and its tokenizer as a plain folder, and return the folder."""
    network = family_network(name, classes=2, seed=seed)
    network.config.id2label = dict(enumerate(get_task("sst2").labels))
    network.config.label2id = {label: index for index, label in network.config.id2label.items()}
    save_model(network, FAMILIES[name].sort.tokenizer(), path, {"task": "sst2"})
    return path


def family_rows(model: LoadedModel) -> list[Encoded]:
    """Return single texts and pairs of different lengths, some with words of several pieces."""
    return [encode(model.tokenizer, *pair) for pair in TEXTS]


def family_inputs(model: LoadedModel) -> Inputs:
    """Return the same as one padded batch."""
    return collate(family_rows(model), model.pad_id)
