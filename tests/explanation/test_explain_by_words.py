"""Models with different tokenizers side by side: the words they share, what each sees of them, and their classes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import Sequence, Split, Whitespace
from transformers import PreTrainedTokenizerFast

from distill_core.attribution import ATTRIBUTION_METHODS
from distill_core.data.tasks import TASKS, Task, get_task
from distill_core.errors import DataError, ModelError, TokensDifferError
from distill_core.explanation.cache import ExplanationCache
from distill_core.metrics.agreement import AGREEMENT_METRICS
from distill_core.models.encoder import LoadedModel, logits
from distill_core.models.tokenization import Inputs, collate, encode, written_words
from tests.support.explanations import explain_with
from tests.support.tiny_architectures import family_model
from tests.support.tiny_families import FAMILIES
from tests.support.tiny_tokenizers import BERT_SPECIAL_TOKENS

TEXT = "the actings was slowly, but the music is good."
each_method = pytest.mark.parametrize("method", ATTRIBUTION_METHODS)


def model_of(name: str, labels: tuple[str, ...] = ("negative", "positive"), limit: int = 64) -> LoadedModel:
    """Return a tiny random model of a family, with these classes."""
    found = family_model(name, classes=len(labels))
    return replace(found, labels=labels, tokenizer=FAMILIES[name].tokenizer_kind.tokenizer(limit))


def with_another_mark(model: LoadedModel) -> LoadedModel:
    """Return the model with a tokenizer of the same ids that marks a continued word in another way."""
    core = json.loads(model.tokenizer.backend_tokenizer.to_str())
    vocabulary = core["model"]["vocab"]
    core["model"]["vocab"] = {token.replace("##", "@@"): index for token, index in vocabulary.items()}
    core["model"]["continuing_subword_prefix"] = "@@"
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), BERT_SPECIAL_TOKENS, strict=True))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(core)),
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **{f"{name}_token": token for name, token in names.items()},
    )
    return replace(model, id="other mark", tokenizer=tokenizer, fingerprint="other mark")


@each_method
def test_two_tokenizers_that_cut_alike_agree_exactly(method: str) -> None:
    model = model_of("bert")
    other = with_another_mark(model)
    text = "the actings was slowly good"
    assert encode(model.tokenizer, text).ids == encode(other.tokenizer, text).ids
    if not ATTRIBUTION_METHODS[method].by_word:
        with pytest.raises(TokensDifferError, match="bert and other mark split"):
            explain_with("sst2", text, teacher=model, students=[other], method=method)
    found = explain_with("sst2", text, teacher=model, students=[other], method=method, units="words")
    (row,) = found.consistency
    assert {row.values[name] for name in AGREEMENT_METRICS if name not in row.undefined} == {1.0}
    assert set(row.undefined) == (set() if ATTRIBUTION_METHODS[method].signed else {"sign_agreement"})
    alone = explain_with("sst2", text, teacher=model, method=method, units="words")
    assert [one.attributions[0].scores for one in found.models] == [alone.models[0].attributions[0].scores] * 2


@each_method
@pytest.mark.parametrize("names", [("bert", "roberta"), ("roberta", "albert"), ("deberta-v3", "mpnet")])
def test_a_words_score_is_the_sum_of_its_pieces_in_each_model(names: tuple[str, str], method: str) -> None:
    teacher, student = map(model_of, names)
    about = {"method": method, "target": "positive", "output": "log_probability"}
    found = explain_with("sst2", TEXT, teacher=teacher, students=[student], units="words", **about)
    assert found.tokens == found.shown == tuple(TEXT.split())
    assert (found.words, found.special, found.left_out) == (tuple(range(9)), (False,) * 9, 0)
    assert [row.student for row in found.consistency] == [student.id]
    if ATTRIBUTION_METHODS[method].by_word:
        return  # its scores are words' from the start
    for said, model in zip(found.models, (teacher, student), strict=True):
        alone = explain_with("sst2", TEXT, teacher=model, **about)
        scores = alone.models[0].attributions[0].scores
        for word, score in zip(found.words, said.attributions[0].scores, strict=True):
            own = [scores[at] for at, number in enumerate(alone.words) if number == word]
            assert own
            assert score == pytest.approx(sum(own), abs=1e-6)
        inside = [score for score, special in zip(scores, alone.special, strict=True) if not special]
        assert sum(said.attributions[0].scores) == pytest.approx(sum(inside), abs=1e-5)
        assert said.logits == pytest.approx(alone.models[0].logits)


def test_occlusion_by_word_occludes_the_same_words_in_every_model() -> None:
    models = [model_of(name) for name in ("bert", "roberta", "albert")]
    found = explain_with(
        "sst2", TEXT, teacher=models[0], students=models[1:], method="occlusion_word", target="positive"
    )
    for said, model in zip(found.models, models, strict=True):
        row = encode(model.tokenizer, TEXT)
        inputs = collate([row], model.pad_id)
        whole = logits(model.network, inputs)[0, 1]
        for word, score in zip(found.words, said.attributions[0].scores, strict=True):
            ids = inputs.input_ids.clone()
            ids[0, [at for at, own in enumerate(row.words) if own == word]] = model.tokenizer.mask_token_id
            less = logits(model.network, Inputs(ids, inputs.attention_mask, inputs.token_type_ids, inputs.special))
            assert score == pytest.approx((whole - less[0, 1]).item(), abs=1e-5)


def test_only_words_that_all_models_see_entirely_are_compared() -> None:
    bert, roberta = model_of("bert", limit=64), model_of("roberta", limit=16)
    text = "the actings was good " * 10
    found = explain_with("sst2", text, teacher=bert, students=[roberta], units="words", method="gradient")
    row = encode(roberta.tokenizer, text, max_length=16)
    whole = [word for word in range(40) if word in row.words and word not in row.cut]
    assert found.words == tuple(whole)
    assert found.left_out == 40 - len(whole) == len(row.cut) > 0
    assert found.tokens == written_words(text)[: len(whole)]
    alone = explain_with("sst2", text, teacher=bert, units="words", method="gradient")
    assert (len(alone.words), alone.left_out) == (40, 0)
    assert alone.models[0].logits == found.models[0].logits  # each reads as much as it can
    with pytest.raises(DataError, match="no word is read in full by all of them; shorten it"):
        explain_with("sst2", "xylophones good", teacher=bert, students=[roberta], units="words", max_length=3)


def test_a_word_that_a_model_has_no_piece_of_scores_nothing_there_and_is_named() -> None:
    bert, roberta = model_of("bert"), model_of("roberta")
    bert.tokenizer.backend_tokenizer.pre_tokenizer = _without_invisible()
    text = "good \u200b film"
    found = explain_with("sst2", text, teacher=bert, students=[roberta], units="words")
    assert found.tokens == ("good", "\u200b", "film")
    assert found.shown == ("good", "U+200B", "film")
    assert found.models[0].attributions[0].scores[1] == 0.0
    assert found.models[1].attributions[0].scores[1] != 0.0
    assert [model.unread for model in found.models] == [("\u200b",), ()]
    alone = explain_with("sst2", text, teacher=bert, units="words")
    assert (alone.tokens, alone.left_out) == (("good", "film"), 0)


def _without_invisible() -> object:
    return Sequence([Split("\u200b", "removed"), Whitespace()])


def test_pairs_keep_their_texts_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    of_pairs = Task("pairs", "Pairs", ("premise", "hypothesis"), ("negative", "positive"))
    monkeypatch.setitem(TASKS, "pairs", of_pairs)
    teacher, student = model_of("bert"), model_of("roberta")
    found = explain_with("pairs", "the film is good", "bad actings", teacher=teacher, students=[student], units="words")
    assert found.tokens == ("the", "film", "is", "good", "bad", "actings")
    assert found.segments == (0, 0, 0, 0, 1, 1)


def test_a_second_look_by_words_opens_no_model(tmp_path: Path) -> None:
    cache = ExplanationCache(tmp_path / "cache.sqlite")
    models = [model_of("bert"), model_of("roberta")]
    first = explain_with("sst2", TEXT, teacher=models[0], students=models[1:], units="words", cache=cache)
    again = explain_with("sst2", TEXT, teacher=models[0], students=models[1:], units="words", cache=cache)
    assert [model.cached for model in (*first.models, *again.models)] == [False, False, True, True]
    assert again == replace(first, models=again.models)


@pytest.mark.parametrize("labels", [("Negative", "POSITIVE"), ("LABEL_0", "LABEL_1"), ("NEG", "POS"), ("0", "1")])
def test_classes_in_other_letters_words_or_without_names_go_by_the_tasks(labels: tuple[str, str]) -> None:
    teacher, student = model_of("bert", labels), model_of("bert")
    for one, other in ((teacher, student), (student, teacher), (teacher, teacher)):
        found = explain_with("sst2", TEXT, teacher=one, students=[other], target="positive", method="gradient")
        assert {model.labels for model in found.models} == {("negative", "positive")}
        assert {map_.target for model in found.models for map_ in model.attributions} == {"positive"}
        assert {model.prediction for model in found.models} <= {"negative", "positive"}
        assert found.consistency[0].values["cosine"] == 1.0


def test_classes_that_are_others_are_not_compared() -> None:
    for labels in (("positive", "negative"), ("a", "b", "c")):
        with pytest.raises(ModelError, match="have different classes"):
            explain_with("sst2", TEXT, teacher=model_of("bert"), students=[model_of("bert", labels)])


def test_a_kept_map_goes_by_the_names_of_the_task_it_is_asked_for(tmp_path: Path) -> None:
    cache = ExplanationCache(tmp_path / "cache.sqlite")
    model = model_of("bert", ("LABEL_0", "LABEL_1"))
    for task in ("sst2", "cola"):
        found = explain_with(task, TEXT, teacher=model, target="all", method="gradient", cache=cache)
        assert tuple(map_.target for map_ in found.models[0].attributions) == get_task(task).labels


def test_scores_of_a_regression_are_compared_by_words() -> None:
    models = [model_of("bert", ("similarity",)), model_of("roberta", ("LABEL_0",))]
    found = explain_with("stsb", "good film", "bad film", teacher=models[0], students=models[1:], units="words")
    assert found.tokens == ("good", "film", "bad", "film")
    assert [model.probabilities for model in found.models] == [(), ()]
    assert "cosine" not in found.consistency[0].undefined
