"""Explaining one text through several models: what is said, what is refused, and what is not computed twice."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from distill_core.attribution import ATTRIBUTION_METHODS, attribute
from distill_core.data.datasets import Dataset, Example
from distill_core.data.tasks import TASKS, Task
from distill_core.errors import ConfigError, DataError, ModelError, TokensDifferError
from distill_core.explanation.cache import ExplanationCache
from distill_core.explanation.explain import predict_all
from distill_core.explanation.lazy_model import LazyModel, lazy_model_in
from distill_core.explanation.result import mean_agreements
from distill_core.metrics.agreement import AGREEMENT_METRICS
from distill_core.models.encoder import LoadedModel, logits
from distill_core.models.tokenization import collate, encode
from tests.support.explanations import explain_with
from tests.support.tiny import tiny_model

TEXT = "the acting is slowly boring , but the music was good"


@dataclass
class Counted:
    """A model with a count of how often it was opened and called."""

    model: LoadedModel
    opened: int = 0
    called: int = 0

    @property
    def source(self) -> LazyModel:
        def load() -> LoadedModel:
            self.opened += 1
            return self.model

        return LazyModel(self.model.id, self.model.fingerprint, load)


@pytest.fixture
def cache(tmp_path: Path) -> ExplanationCache:
    return ExplanationCache(tmp_path / "cache.sqlite")


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str, int], Counted]:
    def build(name: str, seed: int) -> Counted:
        counted = Counted(replace(tiny_model(tmp_path / name, seed=seed, layers=2 - seed % 2), id=name))

        def count(*_: object) -> None:
            counted.called += 1

        counted.model.network.classifier.register_forward_pre_hook(count)  # on the way of every forward pass
        return counted

    return build


@pytest.fixture
def models(make: Callable[[str, int], Counted]) -> list[Counted]:
    return [make("teacher", 0), make("kd", 1), make("ad-kd", 2)]


def ask(models: list[Counted], cache: ExplanationCache | None = None, **settings: object):
    settings = {"method": "gradient_x_input"} | settings
    text = str(settings.pop("text", TEXT))
    sources = [counted.source for counted in models]
    task = str(settings.pop("task", "sst2"))
    return explain_with(task, text, teacher=sources[0], students=sources[1:], cache=cache, **settings)


@pytest.mark.parametrize("method", ATTRIBUTION_METHODS)
def test_the_document_has_the_keys_the_command_line_promises(method: str, models: list[Counted]) -> None:
    found = json.loads(json.dumps(ask(models, method=method, target="all").to_json(), allow_nan=False))
    assert {"task", "text", "text_pair", "tokens", "models", "consistency"} <= set(found)
    assert [model["id"] for model in found["models"]] == ["teacher", "kd", "ad-kd"]
    for model in found["models"]:
        assert {"id", "logits", "probabilities", "prediction", "attributions"} <= set(model)
        assert sum(model["probabilities"]) == pytest.approx(1)
        assert [one["target"] for one in model["attributions"]] == ["negative", "positive"]
        for one in model["attributions"]:
            assert {"target", "scores", "gap", "relative_gap", "converged", "sampling_error"} <= set(one)
            assert (one["sampling_error"] is None) == (not ATTRIBUTION_METHODS[method].seeded)
            assert len(one["scores"]) == len(found["tokens"])
            assert (one["converged"] is None) == (ATTRIBUTION_METHODS[method].evaluations == "")
    assert [(row["student"], row["target"]) for row in found["consistency"]] == [
        ("kd", "negative"),
        ("kd", "positive"),
        ("ad-kd", "negative"),
        ("ad-kd", "positive"),
    ]
    for row in found["consistency"]:
        assert set(AGREEMENT_METRICS) <= set(row)
        assert {name for name in AGREEMENT_METRICS if row[name] is None} == set(row["undefined"])


def test_the_numbers_are_those_of_the_models_alone(models: list[Counted]) -> None:
    found = ask(models, method="integrated_gradients", baseline="mask", output="log_probability", target="positive")
    for counted, said in zip(models, found.models, strict=True):
        model = counted.model
        inputs = collate([encode(model.tokenizer, TEXT)], model.pad_id)
        alone = attribute(
            "integrated_gradients", model, inputs, torch.tensor([1]), baseline="mask", output="log_probability"
        )
        assert said.attributions[0].scores == pytest.approx(alone.scores[0].tolist(), abs=1e-5)
        assert said.logits == pytest.approx(logits(model.network, inputs)[0].tolist(), abs=1e-5)
        assert said.prediction == said.labels[int(torch.tensor(said.logits).argmax())]
    assert (found.request.baseline, found.request.output, found.signed) == ("mask", "log_probability", True)


def test_pred_is_the_teachers_class_for_every_model(models: list[Counted]) -> None:
    for text in (TEXT, "great", "awful film !", "never boring", "the story was not good"):
        found = ask(models, text=text)
        assert {one.target for model in found.models for one in model.attributions} == {found.models[0].prediction}


def test_a_model_against_itself_agrees_exactly(models: list[Counted]) -> None:
    found = ask([models[0], models[0]], method="integrated_gradients")
    assert set(found.consistency[0].values.values()) == {1.0}
    assert found.consistency[0].undefined == {}


def test_the_document_has_the_agreement_of_each_class_and_their_mean(models: list[Counted]) -> None:
    found = ask(models, target="all").to_json()
    classes, means = found["consistency"], found["mean_consistency"]
    assert isinstance(classes, list)
    assert isinstance(means, list)
    assert [(row["student"], row["target"]) for row in means] == [("kd", "mean"), ("ad-kd", "mean")]
    for row in means:
        for name in AGREEMENT_METRICS:
            own = [one[name] for one in classes if one["student"] == row["student"]]
            assert row[name] == pytest.approx(sum(own) / 2)


def test_one_word_has_no_agreement_but_a_reason(models: list[Counted]) -> None:
    row = ask(models, text="great").consistency[0]
    assert row.values["spearman"] is None
    assert "only one score" in row.undefined["spearman"]
    assert row.values["label_loyalty"] in (0.0, 1.0)
    assert ask(models, text="great", include_special=True).consistency[0].values["spearman"] is not None


def test_unsigned_maps_have_no_sign_agreement(models: list[Counted]) -> None:
    assert ask(models, method="gradient").consistency[0].undefined == {
        "sign_agreement": "the method's scores have no sign"
    }
    for row in mean_agreements(ask(models, method="gradient", target="all")):  # alike for all: no class is named
        assert row.undefined == {"sign_agreement": "the method's scores have no sign"}


def test_a_second_look_opens_and_calls_no_model(models: list[Counted], cache: ExplanationCache) -> None:
    first = ask(models, cache, method="integrated_gradients")
    assert [counted.opened for counted in models] == [1, 1, 1]
    assert not any(model.cached for model in first.models)
    calls = [counted.called for counted in models]
    assert min(calls) > 0
    again = ask(models, ExplanationCache(cache.path), method="integrated_gradients")
    assert [counted.called for counted in models] == calls
    assert [counted.opened for counted in models] == [1, 1, 1]
    assert all(model.cached for model in again.models)
    assert replace(again, models=first.models) == first
    assert [model.attributions for model in again.models] == [model.attributions for model in first.models]
    words = ask(models, cache, method="integrated_gradients", units="words")
    assert all(model.cached for model in words.models)
    assert [counted.called for counted in models] == calls


def test_a_fresh_explanation_is_not_read_back_from_json(
    models: list[Counted], cache: ExplanationCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Writer:
        dumps = staticmethod(json.dumps)

        @staticmethod
        def loads(_: str) -> object:
            raise AssertionError("parsed JSON")

    monkeypatch.setattr("distill_core.explanation.model_reader.json", Writer)
    ask(models, cache, target="all")
    with pytest.raises(AssertionError, match="parsed JSON"):  # from the cache, it is
        ask(models, cache, target="all")


@pytest.mark.parametrize("method", ATTRIBUTION_METHODS)
@pytest.mark.parametrize("units", ["pieces", "words"])
def test_a_fresh_explanation_equals_the_cached_one_exactly(
    method: str, units: str, models: list[Counted], cache: ExplanationCache
) -> None:
    settings = {"method": method, "units": units, "target": "all"}
    fresh = ask(models, cache, **settings)
    cached = ask(models, cache, **settings)
    assert all(model.cached for model in cached.models)
    assert replace(cached, models=tuple(replace(model, cached=False) for model in cached.models)) == fresh
    assert ask(models, None, **settings) == fresh


def test_only_a_method_that_samples_depends_on_the_seed(models: list[Counted], cache: ExplanationCache) -> None:
    def cached(**settings: object) -> bool:
        return ask(models[:1], cache, **settings).models[0].cached

    assert [cached(seed=1), cached(seed=2)] == [False, True]
    shap = [ask(models[:1], cache, method="shap", seed=seed).models[0] for seed in (1, 2, 1)]
    assert [model.cached for model in shap] == [False, False, True]
    assert shap[0].attributions == shap[2].attributions != shap[1].attributions


@pytest.mark.parametrize(
    "change",
    [
        {"text": "the acting is slowly boring"},
        {"method": "gradient"},
        {"output": "log_probability"},
        {"method": "occlusion", "baseline": "pad"},
        {"method": "occlusion", "baseline": "mask"},
    ],
)
def test_anything_that_changes_the_map_is_computed(
    change: dict[str, str], models: list[Counted], cache: ExplanationCache
) -> None:
    ask(models, cache, method="occlusion", baseline="zero") if "baseline" in change else ask(models, cache)
    found = ask(models, cache, **change)
    assert not any(model.cached for model in found.models)
    fresh = ask(models, None, **change)
    assert [model.attributions for model in found.models] == [model.attributions for model in fresh.models]


def test_another_class_and_another_student_compute_only_themselves(
    models: list[Counted], make: Callable[[str, int], Counted], cache: ExplanationCache
) -> None:
    ask(models, cache, target="positive")
    everything = ask(models, cache, target="all")
    assert everything.models == tuple(replace(model, cached=False) for model in ask(models, None, target="all").models)
    changed = ask([models[0], models[1], make("other", 5)], cache, target="all")
    assert [model.cached for model in changed.models] == [True, True, False]


@pytest.mark.parametrize("method", ATTRIBUTION_METHODS)
def test_all_classes_come_from_the_forward_passes_of_one(method: str, make: Callable[[str, int], Counted]) -> None:
    calls = {}
    for target in ("negative", "positive", "all"):
        counted = make(target, 0)
        ask([counted], method=method, target=target)
        calls[target] = counted.called
    # Integrated gradients refine each class where it needs it, in rounds that all classes share.
    assert calls["all"] == max(calls["negative"], calls["positive"])


def test_a_damaged_cache_is_computed_again(models: list[Counted], cache: ExplanationCache) -> None:
    first = ask(models, cache)
    cache.path.write_bytes(b"rubbish" * 999)
    assert ask(models, cache) == first


def test_words_join_pieces_and_keep_the_sum(models: list[Counted]) -> None:
    pieces, words = ask(models), ask(models, units="words")
    assert (pieces.request.units, words.request.units) == ("pieces", "words")
    assert "##ly" in pieces.tokens
    assert words.tokens == words.shown == tuple(TEXT.split())
    assert words.words == tuple(range(len(words.tokens)))
    assert not any(words.special)
    for ours, theirs in zip(words.models, pieces.models, strict=True):
        scores = theirs.attributions[0].scores
        assert sum(ours.attributions[0].scores) == pytest.approx(sum(scores[1:-1]))  # all but [CLS] and [SEP]
        position = pieces.tokens.index("##ly")
        assert ours.attributions[0].scores[3] == pytest.approx(scores[position - 1] + scores[position])
    assert words.consistency != pieces.consistency
    with pytest.raises(ConfigError, match="Special tokens are not words"):
        ask(models, units="words", include_special=True)
    with pytest.raises(ConfigError, match="Unknown units 'letters'; choose one of: pieces, words"):
        ask(models, units="letters")


def test_occlusion_by_word_gives_the_words_score_once(models: list[Counted]) -> None:
    words = ask(models, method="occlusion_word")
    assert "slowly" in words.tokens  # no piece has a score of its own, so none is shown or compared
    single = ask(models, method="occlusion").models[0].attributions[0].scores
    assert words.models[0].attributions[0].scores[0] == pytest.approx(single[1], abs=1e-5)  # a word of one piece
    assert words == ask(models, method="occlusion_word", units="words")


def test_pairs_keep_their_segments(models: list[Counted], monkeypatch: pytest.MonkeyPatch) -> None:
    of_pairs = Task("pairs", "Pairs", ("premise", "hypothesis"), ("negative", "positive"), "accuracy")
    monkeypatch.setitem(TASKS, "pairs", of_pairs)
    with pytest.raises(DataError, match="needs two texts \\(premise and hypothesis\\); only one was given"):
        ask(models, task="pairs")
    pair = ask(models, task="pairs", text="the film is good", text_pair="bad acting")
    joined = ask(models, text="the film is good bad acting")
    assert pair.tokens.count("[SEP]") == 2
    assert pair.request.text_pair == "bad acting"
    assert pair.models[0].logits != joined.models[0].logits
    assert [word for word in pair.words if word is not None] == list(range(6))


def test_a_long_text_is_cut_at_the_shortest_limit_and_says_so(models: list[Counted]) -> None:
    found = ask(models, text="good " * 100)
    assert (len(found.tokens), found.left_out) == (64, 38)
    short = replace(models[1].model, tokenizer=_with_limit(models[1].model, 16))
    found = ask([models[0], Counted(short)], text="good " * 100)
    assert (len(found.tokens), found.left_out) == (16, 86)
    assert len(ask(models, text="good " * 100, max_length=10).tokens) == 10
    for units in ("words", "pieces"):  # the same models' limits give the same answers in both
        assert (
            ask([models[0], Counted(short)], text="good " * 100, units=units).models[0].logits == found.models[0].logits
        )


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_blank_text_is_refused(text: str, models: list[Counted]) -> None:
    with pytest.raises(DataError):
        ask(models, text=text)


def test_a_second_text_is_refused_where_the_task_has_one(models: list[Counted]) -> None:
    with pytest.raises(DataError, match="Task sst2 takes one text \\(sentence\\); a second was given: leave it out"):
        ask(models, text_pair="bad acting")


def test_unknown_names_are_refused_with_the_valid_ones(models: list[Counted], cache: ExplanationCache) -> None:
    for _ in range(2):  # with nothing and with everything in the cache
        with pytest.raises(ConfigError, match="Unknown attribution method 'magic'"):
            ask(models, cache, method="magic")
        with pytest.raises(ConfigError, match="Unknown target 'happy'; choose one of: pred, all, negative, positive"):
            ask(models, cache, target="happy")
        with pytest.raises(ConfigError, match="Unknown baseline 'blur'; choose one of: zero, pad, mask"):
            ask(models, cache, baseline="blur")
        with pytest.raises(ConfigError, match="Unknown output"):
            ask(models, cache, output="odds")
        ask(models, cache)
    with pytest.raises(ConfigError, match="Unknown task"):
        explain_with("nothing", TEXT, teacher=models[0].source)


def test_models_that_cannot_be_compared_are_refused(models: list[Counted]) -> None:
    model = models[1].model
    words = model.tokenizer.backend_tokenizer.get_vocab()
    assert "##ly" in words
    other = PreTrainedTokenizerFast.from_pretrained(model.path)
    other.backend_tokenizer.normalizer = None
    cased = Counted(replace(model, tokenizer=other, fingerprint="cased"))
    with pytest.raises(TokensDifferError, match=r"teacher and kd split the text into different tokens.*by words"):
        ask([models[0], cased], text="The film")
    named = Counted(replace(model, labels=("positive", "negative"), fingerprint="named"))
    with pytest.raises(ModelError, match="have different classes"):
        ask([models[0], named])


def test_a_folder_is_a_source_that_opens_itself_only_when_asked(models: list[Counted], cache: ExplanationCache) -> None:
    counted = models[0]
    source = lazy_model_in(counted.model.path, "teacher", counted.source.load, cache)
    assert (source.fingerprint, counted.opened) == (counted.model.fingerprint, 0)
    explain_with("sst2", TEXT, teacher=source, method="gradient", cache=cache)
    explain_with("sst2", TEXT, teacher=counted.model, method="gradient", cache=cache)
    assert counted.opened == 1


def test_predictions_are_the_models_and_are_kept(models: list[Counted], cache: ExplanationCache) -> None:
    texts = ("good", "the film is bad !", "music", TEXT)
    data = Dataset("sst2", "validation", "test", tuple(Example(i, t, None, 0) for i, t in enumerate(texts)), "digest")
    found = predict_all(models[0].source, data, cache=cache)
    model = models[0].model
    for text, row in zip(texts, found, strict=True):
        alone = logits(model.network, collate([encode(model.tokenizer, text)], 0))[0]
        assert row == pytest.approx(alone.tolist(), abs=1e-5)
    calls = models[0].called
    assert predict_all(models[0].source, data, cache=cache) == found
    assert (models[0].called, models[0].opened) == (calls, 1)
    predict_all(models[0].source, replace(data, fingerprint="other"), cache=cache)
    assert models[0].opened == 2


def _with_limit(model: LoadedModel, limit: int) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model.path)
    tokenizer.model_max_length = limit
    return tokenizer
