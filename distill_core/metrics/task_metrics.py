"""The metrics of a task by their GLUE names, computed from predictions and gold labels."""

from collections.abc import Sequence

from distill_core.data.tasks import Answer, Task


def task_metrics(task: Task, predictions: Sequence[Answer], labels: Sequence[Answer]) -> dict[str, float]:
    """Return the task's metrics by their GLUE names; predictions and labels are class indices, or scores.

    nan where a metric is not defined (a correlation with predictions that are all equal).
    """
    return {name: _FUNCTIONS[name](labels, predictions) for name in task.metrics}


def constant_metrics(task: Task, labels: Sequence[Answer]) -> dict[str, float]:
    """Return the metrics of the majority-class baseline: the most frequent label for every example.

    0 for correlations, which are not defined for it. Of equally frequent labels the one with the best first metric.
    """
    highest_count = max(map(labels.count, set(labels)))
    candidates = [
        task_metrics(task, [label] * len(labels), labels)
        for label in set(labels)
        if labels.count(label) == highest_count
    ]
    defined = [{name: value if value == value else 0.0 for name, value in one.items()} for one in candidates]
    return max(defined, key=lambda one: one[task.metric])


def _accuracy(gold: Sequence[Answer], predicted: Sequence[Answer]) -> float:
    from sklearn.metrics import accuracy_score  # imported here, as below: loading this module must stay fast

    return float(accuracy_score(gold, predicted))


def _f1(gold: Sequence[Answer], predicted: Sequence[Answer]) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(gold, predicted, zero_division=0.0))


def _matthews(gold: Sequence[Answer], predicted: Sequence[Answer]) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(gold, predicted))


def _pearson(gold: Sequence[Answer], predicted: Sequence[Answer]) -> float:
    from scipy.stats import pearsonr

    return float("nan") if len(set(predicted)) == 1 else float(pearsonr(gold, predicted).statistic)


def _spearman(gold: Sequence[Answer], predicted: Sequence[Answer]) -> float:
    from scipy.stats import spearmanr

    return float("nan") if len(set(predicted)) == 1 else float(spearmanr(gold, predicted).statistic)


_FUNCTIONS = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews_correlation": _matthews,
    "pearson": _pearson,
    "spearmanr": _spearman,
}
