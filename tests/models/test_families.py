"""Every supported encoder family: run from embeddings, with fewer layers, saved, explained and shown."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AlbertTokenizer, PreTrainedModel

from distill_core.attribution import ATTRIBUTION_METHODS, attribute, attribute_each
from distill_core.attribution.baselines import BASELINES, baseline_embeddings
from distill_core.attribution.gradient import gradient_at_embeddings
from distill_core.attribution.reduce import word_numbers
from distill_core.catalog.catalog import find_model
from distill_core.config.methods import DISTILLATION_METHODS as TAUGHT
from distill_core.config.run_config import RunConfig
from distill_core.errors import ModelError, TokensDifferError
from distill_core.models.encoder import (
    LoadedModel,
    embed,
    embedding_block,
    load_model,
    logits,
    logits_and_layers,
    logits_and_states,
    logits_from_embeddings,
    make_trainable,
    save_model,
)
from distill_core.models.layers import attention_heads, keep_layers
from distill_core.models.tokenization import Inputs, collate, encode
from distill_core.objectives import make_objective
from distill_core.runs.events import Measured
from distill_core.storage.encoder_families import FAMILIES as ENCODERS
from distill_core.training.session import prepare
from distill_core.training.trainer import student_pass
from tests.support.attribution_laws import (
    check_all_classes_equal_each,
    check_batch_equals_single,
    check_shape_and_padding,
    close,
    target_of,
)
from tests.support.crossing import crossing
from tests.support.explanations import explain_with
from tests.support.tiny_architectures import (
    family_inputs,
    family_model,
    family_network,
    family_rows,
    sentiment_folder,
)
from tests.support.tiny_families import FAMILIES

COUNTING = [name for name, tiny in FAMILIES.items() if ENCODERS[tiny.model_type].positions_skip_padding]
each_family = pytest.mark.parametrize("name", FAMILIES)
family_and_attribution = pytest.mark.parametrize(
    ("name", "method"), crossing(FAMILIES, ATTRIBUTION_METHODS, method="integrated_gradients")
)
family_and_distillation = pytest.mark.parametrize(  # gkd_cls reads gradients at the input and at [CLS], and the states
    ("name", "method"), crossing(FAMILIES, [method for method in TAUGHT if method != "kd"], method="gkd_cls")
)


def test_all_families_are_tested() -> None:
    assert {family.model_type for family in FAMILIES.values()} == set(ENCODERS)


@each_family
def test_logits_from_embeddings_equal_the_plain_networks(name: str) -> None:
    model = family_model(name)
    inputs = family_inputs(model)
    for case in (inputs, replace(inputs, token_type_ids=None)):
        ours = logits_from_embeddings(model.network, embed(model.network, case), case)
        torch.testing.assert_close(ours, logits(model.network, case), rtol=1e-5, atol=1e-5)
        kept = {} if case.token_type_ids is None else {"token_type_ids": case.token_type_ids}
        plain = model.network(input_ids=case.input_ids, attention_mask=case.attention_mask, **kept).logits
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)


@each_family
def test_states_between_layers_equal_the_networks_own(name: str) -> None:
    model = family_model(name, layers=3)
    inputs = family_inputs(model)
    embeddings = embed(model.network, inputs).requires_grad_(True)
    found, states = logits_and_states(model.network, embeddings, inputs)
    assert not any(module._forward_hooks for module in model.network.modules())
    kept = {} if inputs.token_type_ids is None else {"token_type_ids": inputs.token_type_ids}
    plain = model.network(
        input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, output_hidden_states=True, **kept
    )
    torch.testing.assert_close(found, plain.logits, rtol=1e-5, atol=1e-5)
    assert len(states) == 2
    for ours, wanted in zip(states, plain.hidden_states[1:-1], strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)
    for gradient in torch.autograd.grad(found.sum(), [embeddings, *states]):
        assert gradient[:, 0].abs().max() > 0  # one graph, through [CLS]


@each_family
def test_recorded_projections_give_the_attention_of_the_plain_network(name: str) -> None:
    model = family_model(name, layers=3)
    inputs = family_inputs(model)
    embeddings = embed(model.network, inputs).requires_grad_(True)
    found, layers = logits_and_layers(model.network, embeddings, inputs, projections=True)
    assert torch.equal(found, logits_from_embeddings(model.network, embeddings, inputs))
    assert len(layers) == 3
    base, encoder = model.network.base_model, ENCODERS[FAMILIES[name].model_type]
    groups = base.get_submodule(encoder.layers)
    for index, layer in enumerate(layers):
        attention = groups[0 if encoder.shares_layers else index].get_submodule(encoder.attention)
        for projection, ours in zip(encoder.projections, (layer.query, layer.key, layer.value), strict=True):
            assert ours is not None
            torch.testing.assert_close(ours, attention.get_submodule(projection)(layer.state))
    query, key = (
        part.unflatten(-1, (attention_heads(model.network), -1)) for part in (layers[-1].query, layers[-1].key)
    )
    if not name.startswith("deberta") and name != "mpnet":  # these add relative positions to the scores
        scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / query.shape[-1] ** 0.5
        scores = scores.masked_fill(~inputs.mask[:, None, None, :], -torch.inf)
        kept = {} if inputs.token_type_ids is None else {"token_type_ids": inputs.token_type_ids}
        plain = model.network(
            input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, output_attentions=True, **kept
        )
        torch.testing.assert_close(scores.softmax(-1), plain.attentions[-1], rtol=1e-5, atol=1e-5)
    assert torch.autograd.grad(layers[-1].query.sum(), embeddings)[0].abs().max() > 0  # part of one graph
    assert not any(layer.query is not None for layer in logits_and_layers(model.network, embeddings, inputs)[1])


@each_family
def test_segment_ids_matter_only_to_networks_that_use_them(name: str) -> None:
    model = family_model(name)
    inputs = family_inputs(model)
    types = torch.zeros_like(inputs.input_ids)
    types[1, 5:] = 1  # also from a tokenizer that tells types to a network without
    found = [logits(model.network, replace(inputs, token_type_ids=case)) for case in (types, torch.zeros_like(types))]
    assert torch.equal(*found) != FAMILIES[name].uses_segments
    with_types = replace(inputs, token_type_ids=types)
    ours = logits_from_embeddings(model.network, embed(model.network, with_types), with_types)
    torch.testing.assert_close(ours, found[0], rtol=1e-5, atol=1e-5)


@each_family
def test_a_loss_on_gradients_has_the_correct_gradient(name: str) -> None:
    model = family_model(name)
    network, inputs = make_trainable(model.network.double()), family_inputs(model)

    def loss() -> Tensor:
        found = gradient_at_embeddings(network, inputs, target_of(5), create_graph=True)
        return (found.gradient * found.embeddings).norm(dim=-1)[inputs.mask].sum()

    weight = next(part for label, part in network.named_parameters() if part.requires_grad and part.ndim == 2)
    direction = torch.randn(weight.shape, dtype=weight.dtype, generator=torch.Generator().manual_seed(1))
    (slope,) = torch.autograd.grad(loss(), weight)
    ends = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            weight += step * direction
        ends.append(loss().item())
    assert (slope * direction).sum().item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)


@each_family
def test_threads_can_share_a_network_without_changing_it(name: str) -> None:
    model = family_model(name)
    network, rows = model.network, family_rows(model)
    before = {label: id(module) for label, module in network.named_modules()}
    batches = [collate(rows[:2], model.pad_id), collate(rows[2:], model.pad_id)]
    target = torch.zeros(3, dtype=torch.long)
    alone = [attribute("gradient", model, batch, target[: len(batch.mask)]).scores for batch in batches]
    found: list[list[Tensor]] = [[], []]

    def work(which: int) -> None:
        batch = batches[which]
        for _ in range(10):
            found[which].append(attribute("gradient", model, batch, target[: len(batch.mask)]).scores)

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for which, scores in enumerate(alone):
        assert len(found[which]) == 10
        assert all(torch.equal(one, scores) for one in found[which])
    assert {label: id(module) for label, module in network.named_modules()} == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@each_family
def test_a_baseline_token_replaces_the_tokens_of_the_text(name: str) -> None:
    model = family_model(name)
    inputs = family_inputs(model)
    x = embed(model.network, inputs)
    for baseline in ("pad", "mask"):
        reference = baseline_embeddings(model.network, model.tokenizer, inputs, baseline)
        torch.testing.assert_close(reference[inputs.special], x[inputs.special])
        changed = (reference != x).any(dim=-1)
        assert torch.equal(changed, inputs.mask & ~inputs.special)


@pytest.mark.parametrize("name", COUNTING)
def test_padding_as_a_baseline_keeps_the_positions_of_the_text(name: str) -> None:
    model = family_model(name)
    block, inputs = model.network.base_model.embeddings, collate(family_rows(model)[1:2], model.pad_id)
    words = block.word_embeddings.weight[torch.where(inputs.special, inputs.input_ids, model.pad_id)]
    places = block.position_embeddings.weight[2 : 2 + inputs.input_ids.shape[1]]
    segment = block.token_type_embeddings.weight[0] if name != "mpnet" else 0.0
    found = baseline_embeddings(model.network, model.tokenizer, inputs, "pad")
    torch.testing.assert_close(found, block.LayerNorm(words + places + segment))


@each_family
def test_the_longest_input_is_one_the_network_can_take(name: str) -> None:
    model = family_model(name)
    model.tokenizer.model_max_length = 10**30
    assert model.max_length == 64
    row = encode(model.tokenizer, "good film " * 70, max_length=model.max_length)
    assert len(row.ids) == 64
    inputs = collate([row, encode(model.tokenizer, "good")], model.pad_id)
    assert torch.isfinite(logits(model.network, inputs)).all()
    assert torch.isfinite(embed(model.network, inputs)).all()


@torch.no_grad()
def same_beginning(teacher: PreTrainedModel, student: PreTrainedModel, inputs: Inputs) -> None:
    """Check that the student's last layer says what the teacher's layer of that number says."""
    said = [
        network(input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, output_hidden_states=True)
        for network in (teacher, student)
    ]
    layers = student.config.num_hidden_layers
    assert len(said[1].hidden_states) == layers + 1
    torch.testing.assert_close(said[1].hidden_states[-1], said[0].hidden_states[layers])


@each_family
def test_a_student_has_the_first_layers_of_its_teacher(name: str) -> None:
    teacher = family_network(name, layers=3)
    inputs = family_inputs(family_model(name))
    with torch.no_grad():
        for layers in (1, 2, 3):
            student = keep_layers(teacher, layers)
            assert student.config.num_hidden_layers == layers
            same_beginning(teacher, student, inputs)
            ours = logits_from_embeddings(student, embed(student, inputs), inputs)
            torch.testing.assert_close(ours, logits(student, inputs), rtol=1e-5, atol=1e-5)
    assert teacher.config.num_hidden_layers == 3
    with pytest.raises(ModelError, match="1 to 3 layers, not 4"):
        keep_layers(teacher, 4)


def test_shared_layers_are_removed_only_if_a_config_can_describe_the_rest() -> None:
    teacher = family_network("albert", layers=12, num_hidden_groups=3)
    inputs = family_inputs(family_model("albert"))
    for layers, groups in ((4, 1), (7, 2), (8, 2), (11, 3)):
        student = keep_layers(teacher, layers)
        assert student.config.num_hidden_groups == len(student.base_model.encoder.albert_layer_groups) == groups
        same_beginning(teacher, student, inputs)
    with pytest.raises(ModelError, match=r"cannot have 6 layers.*share 3 groups.*one of: 1, 2, 3, 4, 7, 8, 11, 12"):
        keep_layers(teacher, 6)


@family_and_distillation
def test_every_method_trains_every_family(name: str, method: str) -> None:
    teacher = family_model(name, layers=3)
    student = make_trainable(keep_layers(teacher.network, 2))
    inputs, labels = family_inputs(teacher), torch.zeros(len(family_rows(teacher)), dtype=torch.long)
    found = make_objective(RunConfig(method=method), 2, 3)
    assert found is not None
    targets = found.targets(student_pass(teacher.network, inputs, labels, teacher.mask_id, needs=found.needs))
    forward = student_pass(student, inputs, labels, teacher.mask_id, needs=found.needs)
    terms = found.losses(forward, targets, torch.Generator().manual_seed(0), found.counts(targets))
    assert all(term > 0 for term in terms.values())
    sum(terms.values()).backward()
    moved = [p for p in student.parameters() if p.grad is not None and p.grad.abs().max() > 0]
    assert len(moved) > 10
    assert all(torch.isfinite(p.grad).all() for p in moved)


@each_family
def test_everything_but_the_embedding_block_is_trained(name: str) -> None:
    network = make_trainable(keep_layers(family_network(name, layers=2), 1))
    inputs = family_inputs(family_model(name))
    torch.nn.functional.cross_entropy(logits(network, inputs), target_of(5)).backward()
    frozen = {id(parameter) for parameter in embedding_block(network).parameters()}
    assert frozen
    for label, parameter in network.named_parameters():
        assert (parameter.grad is None) == (id(parameter) in frozen), label


@each_family
def test_a_saved_model_loads_with_the_same_answers(name: str, tmp_path: Path) -> None:
    model = family_model(name, layers=2)
    student, inputs = keep_layers(model.network, 1), family_inputs(model)
    save_model(student, model.tokenizer, tmp_path / "m", {"parameters": 7})
    written = json.loads((tmp_path / "m" / "config.json").read_text())
    odd = {"return_dict": False, "output_attentions": True, "output_hidden_states": True}  # as some published ones
    (tmp_path / "m" / "config.json").write_text(json.dumps(written | odd))
    found = load_model(tmp_path / "m")
    torch.testing.assert_close(logits(found.network, inputs), logits(student, inputs), rtol=1e-5, atol=1e-5)
    assert not any(module._forward_hooks for module in found.network.modules())
    assert family_rows(found) == family_rows(model)
    info = find_model(str(tmp_path / "m"))
    assert (info.layers, info.hidden_size) == (1, 16)


@pytest.mark.parametrize("told", [False, True])
def test_segment_ids_are_passed_unless_the_folder_disables_them(told: bool, tmp_path: Path) -> None:
    tiny = FAMILIES["albert"].tokenizer_kind
    pieces = json.loads(tiny.tokenizer().backend_tokenizer.to_str())["model"]["vocab"]
    tokenizer = AlbertTokenizer(vocab=[tuple(piece) for piece in pieces], model_max_length=64)
    if told:
        tokenizer = replace(tiny, gives_segments=False).tokenizer()  # writes its model_input_names
    save_model(family_network("albert"), tokenizer, tmp_path / "m", {})
    assert encode(tokenizer, "good film", "bad plot").types is None
    types = encode(load_model(tmp_path / "m").tokenizer, "good film", "bad plot").types
    assert types == (None if told else (0, 0, 0, 0, 1, 1, 1))


def test_weights_of_more_layers_than_the_config_has_are_refused(tmp_path: Path) -> None:
    model = family_model("distilbert", layers=2)
    save_model(model.network, model.tokenizer, tmp_path / "m", {})
    written = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps(written | {"n_layers": 1}))
    with pytest.raises(ModelError, match="fewer layers than its weights"):
        load_model(tmp_path / "m")


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    model = family_model("bert")
    save_model(model.network, model.tokenizer, tmp_path / "m", {})
    for content, message in (
        (
            '{"model_type": "gpt2"}',
            r"is of type 'gpt2', .* choose a model of type albert, bert, .*xlm-roberta\.",
        ),
        ("{}", "is of type None"),
        ("[", "is damaged"),
    ):
        (tmp_path / "m" / "config.json").write_text(content)
        with pytest.raises(ModelError, match=message):
            load_model(tmp_path / "m")


@family_and_attribution
def test_the_contract_of_the_methods_holds(name: str, method: str) -> None:
    model = family_model(name)
    rows, inputs = family_rows(model), family_inputs(model)
    check_shape_and_padding(method, "logit", model, rows, inputs)
    check_all_classes_equal_each(method, "log_probability", model, rows, inputs)
    for baseline in BASELINES if ATTRIBUTION_METHODS[method].default_baseline else ("pad",):
        check_batch_equals_single(method, baseline, model, rows, inputs)


@family_and_attribution
def test_padding_and_its_contents_change_nothing(name: str, method: str) -> None:
    model = family_model(name)
    inputs, words = family_inputs(model), word_numbers(family_rows(model))

    def wider(values: Tensor, fill: int) -> Tensor:
        return torch.nn.functional.pad(values, (0, 7), value=fill)

    junk = torch.where(inputs.mask, inputs.input_ids, 12)
    types = None if inputs.token_type_ids is None else wider(inputs.token_type_ids, 1)
    padded = Inputs(wider(junk, 13), wider(inputs.attention_mask, 0), types, wider(inputs.special, True))
    plain = attribute(method, model, inputs, target_of(5), words=words)
    found = attribute(method, model, padded, target_of(5), words=wider(words, -1))
    close(found.scores[:, : plain.scores.shape[1]], plain.scores)
    assert (found.scores[:, plain.scores.shape[1] :] == 0).all()


@family_and_attribution
def test_a_network_in_training_is_explained_without_its_dropout(name: str, method: str) -> None:
    model = family_model(name, dropout=0.3)
    inputs, words = family_inputs(model), word_numbers(family_rows(model))
    classes = torch.arange(3).expand(5, 3)
    quiet = attribute_each(method, model, inputs, classes, words=words)
    model.network.train()
    weights = {label: value.clone() for label, value in model.network.state_dict().items()}
    loud = attribute_each(method, model, inputs, classes, words=words)
    for ours, theirs in zip(loud, quiet, strict=True):
        close(ours.scores, theirs.scores)
    assert all(module.training for module in model.network.modules())
    assert all(torch.equal(value, weights[label]) for label, value in model.network.state_dict().items())


def sentiment(name: str, seed: int = 0) -> LoadedModel:
    """Return a model of the family that knows the classes of SST-2."""
    return replace(family_model(name, classes=2, seed=seed), labels=("negative", "positive"), id=f"{name} {seed}")


@each_family
def test_a_student_is_distilled_from_a_teacher_of_its_family(name: str, tmp_path: Path) -> None:
    teacher = load_model(sentiment_folder(tmp_path / "teacher", name))
    values = {"task": "sst2", "teacher": str(teacher.path), "student_layers": 1, "source": "bundled"}
    sizes = {"steps": 2, "batch_size": 4, "evaluate_every": 2, "device": "cpu", "max_length": 32}
    values |= {"weak_teacher": "go_on"}
    session = prepare(RunConfig.from_values(values | sizes | {"method": "ad_kd"}))
    losses = [
        event.values["ad_kd"] for event in session.events() if isinstance(event, Measured) and "ad_kd" in event.values
    ]
    assert all(0 < loss < 4 for loss in losses)
    assert losses
    session.save(tmp_path / "student", {"run": "r"})
    student = load_model(tmp_path / "student").network
    kept = [embedding_block(network).state_dict() for network in (student, teacher.network)]
    assert all(torch.equal(kept[0][key], kept[1][key]) for key in kept[1])
    beginning = keep_layers(teacher.network, 1).state_dict()
    assert any(not torch.equal(value, beginning[key]) for key, value in student.state_dict().items())


@each_family
def test_pieces_are_shown_without_markers_and_words_as_written(name: str) -> None:
    text = "the actings was slowly good !"
    about = {"teacher": sentiment(name), "students": [sentiment(name, 1)], "method": "gradient"}
    pieces, words = explain_with("sst2", text, **about), explain_with("sst2", text, units="words", **about)
    assert any(token.startswith(FAMILIES[name].word_start or "##") for token in pieces.tokens)
    assert "".join(pieces.shown[1:-1]).replace("␣", "") == text.replace(" ", "")
    assert words.tokens == words.shown == tuple(text.split())


def test_models_with_different_tokenizers_are_not_compared_by_pieces() -> None:
    for one, other in (("bert", "roberta"), ("roberta", "albert"), ("deberta-v3", "distilbert"), ("bert", "mpnet")):
        with pytest.raises(TokensDifferError, match=f"{one} 0 and {other} 0 split the text into different tokens"):
            explain_with("sst2", "the actings", teacher=sentiment(one), students=[sentiment(other)], method="gradient")
    found = explain_with("sst2", "the actings", teacher=sentiment("bert"), students=[sentiment("distilbert")])
    assert [model.id for model in found.models] == ["bert 0", "distilbert 0"]
