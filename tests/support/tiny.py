"""Tiny random BERTs and a word-per-token tokenizer, built on the spot: real code paths, no files needed."""

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from distill_core.data.tasks import get_task
from distill_core.models.encoder import LoadedModel, load_model, save_model
from distill_core.models.tokenization import Inputs

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] a the film is was good bad great awful not never but and very story acting plot "
    "music dull bright slow fast boring funny ##s ##ly ##ing watch love hate . , !"
).split()


def tiny_network(
    *, layers: int = 2, classes: int = 2, width: int = 16, heads: int = 2, seed: int = 0, dropout: float = 0.0
) -> BertForSequenceClassification:
    """Return a random classifier in eval mode with weights large enough that maps differ between tokens."""
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=2 * width,
        max_position_embeddings=64,
        num_labels=classes,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        attn_implementation="eager",
    )
    torch.manual_seed(seed)
    network = BertForSequenceClassification(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "LayerNorm" not in name:
                parameter.normal_(std=0.3)
    return network.eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Return a lower-casing word-piece tokenizer over WORDS with BERT's pair template."""
    core = Tokenizer(WordPiece({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    core.normalizer = Lowercase()
    core.pre_tokenizer = Whitespace()
    core.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def tiny_folder(path: Path, *, layers: int = 2, seed: int = 0, task: str = "sst2", width: int = 16) -> Path:
    """Save a tiny model with the task's classes as a plain Hugging Face folder and return the folder."""
    labels = get_task(task).labels
    network = tiny_network(layers=layers, seed=seed, classes=len(labels), width=width)
    network.config.id2label = dict(enumerate(labels))
    network.config.label2id = {label: index for index, label in enumerate(labels)}
    save_model(network, tiny_tokenizer(), path, {"task": task})
    return path


def tiny_model(path: Path, *, layers: int = 2, seed: int = 0, task: str = "sst2") -> LoadedModel:
    """Save and load a tiny model with the task's classes."""
    return load_model(tiny_folder(path, layers=layers, seed=seed, task=task))


def random_inputs(lengths: tuple[int, ...], *, pair: bool = False, seed: int = 0) -> Inputs:
    """Return a padded batch of random content tokens between [CLS] and [SEP]; `pair` halves the segments."""
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    mask, types = torch.zeros_like(ids), torch.zeros_like(ids)
    special = torch.ones(len(lengths), width, dtype=torch.bool)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(5, len(WORDS), (length,), generator=generator)
        ids[row, 0], ids[row, length - 1] = 2, 3
        mask[row, :length] = 1
        special[row, 1 : length - 1] = False
        if pair:
            types[row, length // 2 : length] = 1
    return Inputs(ids, mask, types, special)
