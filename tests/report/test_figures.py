"""Figures show the numbers they are given: counted bars, texts of cells, positions of marks, axes labels."""

from __future__ import annotations

import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from mlrun.evaluation import metrics as measures
from mlrun.report import figures
from mlrun.report.drawing import colour_of
from mlrun.report.style import DPI, GREY

pytestmark = pytest.mark.renders


def texts(figure):
    return [text.get_text() for text in figure.texts] + [t.get_text() for axes in figure.axes for t in axes.texts]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def is_drawn(figure, tmp_path):
    """The PNG has ink: more than a handful of colours, and a size that a screen shows."""
    path = tmp_path / "figure.png"
    figures.save(figure, path)
    from PIL import Image

    with Image.open(path) as image:
        width, height = image.size
        colours = image.convert("RGB").getcolors(maxcolors=1_000_000)
    return 350 < width < 2000 and 180 < height < 2000 and len(colours) > 20


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    return load_digits()


def test_learning_curves_pair_train_and_val_and_mark_the_best_epoch(tmp_path):
    history = {
        "train/loss": [(1, 1.0), (2, 0.5), (3, 0.2)],
        "val/loss": [(1, 1.1), (2, 0.7), (3, float("nan"))],
        "val/accuracy": [(1, 0.5), (2, 0.9), (3, 0.8)],
        "test/accuracy": [(3, 0.85)],
        "lr": [(1, 0.1), (2, 0.1), (3, 0.1)],
    }
    figure = figures.learning_curves(history, "val/accuracy", "max")
    loss, accuracy = figure.axes
    assert legend(loss) == ["train", "val"] and loss.get_xlabel() == "epoch"
    assert list(loss.lines[0].get_ydata()) == [1.0, 0.5, 0.2] and list(loss.lines[1].get_ydata()) == [1.1, 0.7]
    assert accuracy.get_title(loc="left") == "accuracy: val 0.9000 at epoch 2"
    assert [list(line.get_xdata()) for line in accuracy.lines][1:] == [[2.0, 2.0], [2]]
    assert is_drawn(figure, tmp_path)
    lowest = figures.learning_curves(history, "val/loss", "min")
    assert lowest.axes[0].get_title(loc="left") == "loss: val 0.7000 at epoch 2"
    unmarked = figures.learning_curves(history, "val/loss")  # without a direction there is no best epoch
    assert unmarked.axes[0].get_title(loc="left") == "loss"


@pytest.mark.parametrize("history", [{}, {"val/loss": [(1, 0.3)]}, {"val/loss": [(1, float("nan"))]}])
def test_learning_curves_of_hardly_any_epoch(history, tmp_path):
    figures.save(figures.learning_curves(history, "val/loss"), tmp_path / "curves.png")


def test_long_names_of_metrics_fit_their_panels():
    name = "a_metric_with_a_rather_long_name_of_its_own"
    history = {f"{split}/{metric}": [(1, 0.7), (2, 0.61234)] for split in ("train", "val") for metric in ("loss", name)}
    figure = figures.learning_curves(history, f"val/{name}", "min", best_epoch=2)
    renderer = figure.canvas.get_renderer()
    titles = [axes.title.get_window_extent(renderer) for axes in figure.axes] + [
        axes._left_title.get_window_extent(renderer) for axes in figure.axes
    ]
    assert max(title.x1 for title in titles) <= figure.bbox.width


def test_only_values_that_fall_have_a_logarithmic_axis():
    history = {"val/loss": [(1, 1.0), (9, 0.001)], "val/accuracy": [(1, 0.001), (9, 1.0)]}
    loss, accuracy = figures.learning_curves(history).axes
    assert (loss.get_yscale(), accuracy.get_yscale()) == ("log", "linear")


@pytest.mark.parametrize("returns", [[500.0] * 9, [0.0, 1.0, 1.0, 0.0, 1.0], list(range(-300, 0))])
def test_bars_of_returns_lie_around_the_returns(returns, tmp_path):
    from mlrun.report.control import return_histogram

    figure = return_histogram(np.array(returns))
    (axes,) = figure.axes
    assert sum(bar.get_height() for bar in axes.patches) == len(returns)
    if len(set(returns)) < 10:
        assert {bar.get_x() + bar.get_width() / 2 for bar in axes.patches} == set(returns)
    assert axes.get_xlim()[1] - axes.get_xlim()[0] > 1
    assert is_drawn(figure, tmp_path)


def test_the_first_colours_of_classes_differ():
    colours = np.array([[int(colour_of(place)[at : at + 2], 16) for at in (1, 3, 5)] for place in range(11)])
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=2)
    assert distances[~np.eye(11, dtype=bool)].min() > 60  # of 255 per channel


def test_a_box_in_a_large_image_has_all_its_sides_in_a_figure():
    from mlrun.report.drawing import drawn_objects
    from mlrun.report.scenes import picture_grid

    box = np.array([[203.0, 101, 641, 467]])
    picture = drawn_objects(np.zeros((3, 600, 800)), box, np.zeros(1), np.ones(1), ["cell"], reduced=True)
    assert picture.size == (300, 225)
    figure = picture_grid([picture], ["F1 1.00"], "Predicted boxes")
    figure.set_dpi(DPI)
    figure.canvas.draw()
    shown = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    own = np.abs(shown - [int(colour_of(0)[at : at + 2], 16) for at in (1, 3, 5)]).max(2) < 8
    assert (own.sum(1) > 120).sum() >= 2 and (own.sum(0) > 100).sum() >= 2  # two sides each way


def test_masks_have_a_legend_of_their_classes():
    from PIL import Image

    from mlrun.report.scenes import picture_grid, with_legend

    pictures = [Image.new("RGB", (32, 32))] * 3
    figure = picture_grid(pictures, ["image", "true", "3 % wrong"], "Image, true mask, predicted mask", columns=3)
    before = figure.axes[0].get_window_extent().bounds[2:]
    figure = with_legend(figure, {"road": "#0072B2", "a class with a long name": "#D55E00"})
    np.testing.assert_allclose(figure.axes[0].get_window_extent().bounds[2:], before)  # nothing shrinks
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][0] == "road"
    assert legend.get_window_extent(figure.canvas.get_renderer()).x1 <= figure.bbox.width


def test_confusion_matrix_writes_counts_and_row_shares(tmp_path):
    counts = np.array([[8, 2, 0], [0, 5, 0], [1, 0, 999]])
    figure = figures.confusion_matrix(counts, ["cat", "dog", "a_$b$"])
    cells = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in figure.axes[0].texts}
    assert cells == {(0, 0): "8\n80%", (0, 1): "2\n20%", (1, 1): "5\n100%", (2, 0): "1\n<1%", (2, 2): "999\n100%"}
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "a_$b$"]
    assert any("0.9970" in text for text in texts(figure))
    assert is_drawn(figure, tmp_path)


@pytest.mark.parametrize("classes", [2, 10, 20, 40, 100])
def test_confusion_matrix_of_any_size(classes, tmp_path):
    counts = np.eye(classes, dtype=int) * 50
    counts[0, 1] = 7
    figure = figures.confusion_matrix(counts, [f"class {i}" for i in range(classes)])
    numbers = [text.get_text().split("\n")[0] for text in figure.axes[0].texts]
    assert numbers == ([] if classes > 25 else ["50", "7"] + ["50"] * (classes - 1))
    assert any("7  class 0 → class 1" in text for text in texts(figure)) == (classes > 12)
    assert is_drawn(figure, tmp_path)


def test_roc_and_pr_state_the_areas_of_sklearn(tmp_path):
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    random = np.random.default_rng(0)
    y_true = random.integers(0, 2, 300)
    score = np.round(random.random(300) + 0.4 * y_true, 1)
    figure = figures.roc_and_pr(y_true, score, ["healthy", "ill"])
    roc, pr = figure.axes
    assert f"ROC, AUC {roc_auc_score(y_true, score):.4f}" in legend(roc)
    assert f"precision-recall, AP {average_precision_score(y_true, score):.4f}" in legend(pr)
    x, y, _ = roc_curve(y_true, score)
    assert np.allclose(roc.lines[1].get_xdata(), x) and np.allclose(roc.lines[1].get_ydata(), y)
    assert any("ill against healthy" in text for text in texts(figure))
    assert is_drawn(figure, tmp_path)
    assert len(figures.roc_and_pr(np.ones(5), np.arange(5)).axes) == 2  # one class: nothing but chance


def test_predicted_against_true_and_residuals(tmp_path):
    y_true = np.linspace(0, 10, 50)
    y_pred = y_true + np.where(np.arange(50) % 2, 1.0, -3.0)
    figure = figures.predicted_against_true(y_true, y_pred, "price")
    left, right = figure.axes[:2]
    assert (left.get_xlabel(), left.get_ylabel()) == ("true price", "predicted price")
    assert (left.lines[1].get_xdata() == y_true).all() and (left.lines[1].get_ydata() == y_pred).all()
    assert set(np.round(right.lines[1].get_ydata(), 6)) == {-1.0, 3.0}
    assert any("RMSE 2.236,  MAE 2.000" in text for text in texts(figure))
    assert is_drawn(figure, tmp_path)
    assert len(figures.predicted_against_true(np.ones(9000), np.ones(9000)).axes[0].lines[1].get_xdata()) == 4000


def test_feature_importance_shows_the_largest_twenty(tmp_path):
    importance = np.arange(30.0)
    figure = figures.feature_importance(importance, [f"f{i}" for i in range(30)], std=np.full(30, 0.5))
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == list(range(29, 9, -1))
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"f{i}" for i in range(29, 9, -1)]
    assert len(axes.collections) == 1  # error bars
    assert "the largest 20 of 30 features" in texts(figure)
    assert is_drawn(figure, tmp_path)
    used = figures.feature_importance(np.array([0.0] * 28 + [0.3, 0.7]))
    assert [bar.get_width() for bar in used.axes[0].patches] == [0.7, 0.3]
    assert "the largest 2 of 30 features; the others: 0" in texts(used)


def test_permutation_importance_finds_the_feature_that_matters():
    pd = pytest.importorskip("pandas")
    random = np.random.default_rng(0)
    x = random.normal(size=(3000, 4))
    y = (x[:, 2] > 0).astype(int)

    def accuracy(y_true, y_pred):
        return measures.classification(y_true, y_pred)["accuracy"]

    mean, std = figures.permutation_importance(lambda rows: (rows[:, 2] > 0).astype(int), x, y, accuracy)
    assert mean[2] == pytest.approx(0.5, abs=0.05) and (mean[[0, 1, 3]] == 0).all() and std[2] > 0
    again, _ = figures.permutation_importance(lambda rows: (rows[:, 2] > 0).astype(int), x, y, accuracy)
    assert (mean == again).all()

    frame = pd.DataFrame(x, columns=list("abcd")).assign(e=["yes", "no"] * 1500)
    untouched = frame.copy()
    of_frame, _ = figures.permutation_importance(lambda rows: (rows["c"] > 0).astype(int), frame, y, accuracy)
    assert of_frame[2] == pytest.approx(0.5, abs=0.05) and of_frame[4] == 0
    pd.testing.assert_frame_equal(frame, untouched)


@pytest.mark.parametrize("image_shape, grid", [([1, 28, 28], (7, 7)), ([3, 32, 32], (8, 8)), ([1, 8, 8], (8, 8))])
def test_patches_cover_every_pixel_once(image_shape, grid):
    groups, shape = figures.patches(image_shape)
    assert shape == grid and len(groups) == grid[0] * grid[1]
    assert sorted(np.concatenate(groups)) == list(range(np.prod(image_shape)))


def test_importance_of_pixels_is_an_image(digits, tmp_path):
    importance = digits.data.var(axis=0)
    figure = figures.feature_importance(importance, image_shape=[1, 8, 8], label="variance")
    assert (figure.axes[0].images[0].get_array() == importance.reshape(8, 8)).all()
    assert figure.axes[1].get_ylabel() == "variance"
    assert is_drawn(figure, tmp_path)


def test_coefficients(digits, tmp_path):
    one = figures.coefficients([3.0, -5.0, 1.0], ["a", "b", "c"])
    assert [bar.get_width() for bar in one.axes[0].patches] == [-5.0, 3.0, 1.0]
    assert one.axes[0].patches[0].get_facecolor() != one.axes[0].patches[1].get_facecolor()
    binary = figures.coefficients([[3.0, -5.0]], ["a", "b"], ["no", "yes"])
    assert "Coefficients towards yes" in texts(binary)
    few = figures.coefficients(np.eye(3), ["a", "b", "c"], ["x", "y", "z"])
    assert [axes.get_title(loc="left") for axes in few.axes] == ["x", "y", "z"]
    many = figures.coefficients(np.eye(10), list("abcdefghij"), [f"class {i}" for i in range(10)])
    assert (many.axes[0].images[0].get_array() == np.eye(10)).all()
    images = figures.coefficients(digits.data[:10] - 8, None, list("0123456789"), [1, 8, 8])
    assert texts(images)[1:] == list("0123456789")
    assert images.axes[0].images[0].get_clim() == (-8.0, 8.0)
    for figure in (one, binary, few, many, images):
        assert is_drawn(figure, tmp_path)


def test_tree_drawing_states_rules_classes_and_rows(tmp_path):
    from sklearn.datasets import load_iris
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    iris = load_iris()
    tree = DecisionTreeClassifier(max_depth=2, random_state=0).fit(iris.data, iris.target)
    figure = figures.tree_drawing(tree, ["a", "b", "c", "d"], iris.target_names)
    rule = f"{'abcd'[tree.tree_.feature[0]]} ≤ {tree.tree_.threshold[0]:.4g}"
    assert f"{rule}\nsetosa  33%\n150 rows" in texts(figure) and "setosa  100%\n50 rows" in texts(figure)
    assert len(figure.axes[0].patches) == tree.tree_.node_count == 5
    assert is_drawn(figure, tmp_path)

    deep = DecisionTreeRegressor(random_state=0).fit(iris.data, iris.data[:, 0] + iris.data[:, 1])
    figure = figures.tree_drawing(deep, max_depth=3)
    assert len(figure.axes[0].patches) <= 15
    assert f"depth {deep.get_depth()} (first 3 shown)" in figure.texts[0].get_text()
    assert any("mean" in text for text in texts(figure))
    stump = DecisionTreeClassifier().fit([[0.0], [1.0]], [1, 1])
    assert "1  100%\n2 rows" in texts(figures.tree_drawing(stump))


def test_pca_variance_marks_the_components_that_are_needed(tmp_path):
    ratio = np.array([0.6, 0.25, 0.08, 0.04, 0.03])
    figure = figures.pca_variance(ratio)
    scree, total = figure.axes
    assert [bar.get_height() for bar in scree.patches] == list(ratio)
    assert np.allclose(total.lines[0].get_ydata(), [0, 0.6, 0.85, 0.93, 0.97, 1.0])
    assert legend(total) == ["90% with 3 components", "95% with 4 components"]
    assert is_drawn(figure, tmp_path)
    assert is_drawn(figures.pca_variance(np.full(200, 0.004)), tmp_path)


def test_component_images(digits, tmp_path):
    from sklearn.decomposition import PCA

    pca = PCA(5).fit(digits.data)
    figure = figures.component_images(pca.components_, [1, 8, 8], pca.explained_variance_ratio_)
    assert texts(figure)[1:] == [f"{i + 1}:  {ratio:.1%}" for i, ratio in enumerate(pca.explained_variance_ratio_)]
    assert is_drawn(figure, tmp_path)


def test_clusters_lie_on_the_principal_plane(digits, tmp_path):
    from sklearn.decomposition import PCA

    x, labels = digits.data, digits.target
    centers = np.array([x[labels == i].mean(axis=0) for i in range(10)])
    figure = figures.clusters_2d(x, labels, centers, labels, digits.target_names)
    pca = PCA(2, svd_solver="full").fit(x)
    drawn, true = figure.axes[0].lines[3].get_xydata(), pca.transform(x[labels == 3])
    assert np.allclose(np.abs(drawn), np.abs(true), atol=1e-6)
    assert legend(figure.axes[1]) == list("0123456789")
    assert f"{pca.explained_variance_ratio_[0]:.0%} of variance" in figure.axes[0].get_xlabel()
    assert is_drawn(figure, tmp_path)
    assert len(figures.clusters_2d(np.arange(10.0)[:, None], np.arange(10) % 2).axes) == 1


def test_rows_in_no_cluster_are_noise(digits):
    groups = np.where(np.arange(len(digits.data)) % 5 == 0, -1, digits.target)
    figure = figures.clusters_2d(digits.data, groups, None, digits.target, digits.target_names)
    assert texts(figure)[0].startswith("10 clusters on")
    assert legend(figure.axes[0]) == ["noise", *(f"cluster {number}" for number in range(10))]
    colours = [line.get_color() for line in figure.axes[0].lines]
    assert colours[0] == GREY and colours[1:] == [line.get_color() for line in figure.axes[1].lines]


def test_a_cluster_has_the_colour_of_the_class_that_it_finds(digits):
    x, classes = digits.data, digits.target
    permuted = (classes + 3) % 10  # a clustering is right whatever its numbers are
    clusters, true = figures.clusters_2d(x, permuted, None, classes, digits.target_names).axes
    assert legend(clusters) == [f"cluster {number}" for number in range(10)]
    drawn = {line.get_xydata().tobytes(): line.get_color() for line in true.lines}
    assert len(set(drawn.values())) == 10
    assert {line.get_xydata().tobytes(): line.get_color() for line in clusters.lines} == drawn
    halves = 2 * classes + (x[:, 20] > 8)  # two clusters in each class: the smaller half has a colour of its own
    clusters, true = figures.clusters_2d(x, halves, None, classes, digits.target_names).axes
    assert len({line.get_color() for line in clusters.lines}) == len(np.unique(halves))


def test_misclassified_images_show_the_surest_mistakes_first(digits, tmp_path):
    y_true, y_pred = digits.target, digits.target.copy()
    y_pred[[3, 7, 9]] = 0
    confidence = np.full(len(y_true), 0.99)
    confidence[[3, 7, 9]] = [0.4, 0.9, 0.6]
    figure = figures.misclassified_images(digits.data, y_true, y_pred, digits.target_names, [1, 8, 8], confidence)
    assert texts(figure)[1:] == ["true 7\n→ 0 (90%)", "true 9\n→ 0 (60%)", "true 3\n→ 0 (40%)"]
    assert "3 mistakes in 1,797" in texts(figure)[0]
    image = figure.axes[0].images[0].get_array()
    first = digits.data[7].reshape(8, 8)
    assert (image[-8:, :8].filled(-1) == first).all()
    assert is_drawn(figure, tmp_path)
    assert figures.misclassified_images(digits.data, y_true, y_true, digits.target_names, [1, 8, 8]) is None
    given = [digits.data[:1], [0], [1], digits.target_names, [1, 8, 8]]
    assert "1 mistake in 50" in texts(figures.misclassified_images(*given, of_rows=50))[0]
    colour = np.random.default_rng(0).random((4, 3 * 8 * 8))
    assert is_drawn(figures.misclassified_images(colour, [0] * 4, [1] * 4, ["a", "b"], [3, 8, 8]), tmp_path)


def test_names_in_any_script_and_any_length(tmp_path, recwarn):
    figures.save(figures.confusion_matrix(np.eye(2, dtype=int), ["猫", "x" * 200]), tmp_path / "names.png")
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_figures_need_no_pyplot_and_leave_the_users_style_alone():
    before = dict(matplotlib.rcParams)
    figures.pca_variance([0.5, 0.2])
    assert dict(matplotlib.rcParams) == before
    code = (
        "import sys; from mlrun.report import figures; "
        "assert not {'matplotlib.pyplot', 'sklearn', 'scipy', 'torch', 'pandas', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "about", ["mlp on digits, test split, 359 rows", "a model on " + "a dataset with a long name " * 9]
)
def test_captions_say_what_a_figure_shows(about):
    from PIL import Image

    from mlrun.report.captions import WIDTH, captioned, explained

    figure = figures.confusion_matrix(np.array([[5, 1], [0, 9]]), ["cat", "dog"])
    before = [axes.get_window_extent().bounds[2:] for axes in figure.axes]
    figure = captioned(figure, "confusion_matrix", about)
    after = [axes.get_window_extent().bounds[2:] for axes in figure.axes]
    np.testing.assert_allclose(after, before, rtol=1e-6)  # nothing shrinks
    caption = figure.texts[-1]
    assert caption.get_text().replace("\n", " ") == about.rstrip()  # nothing is cut
    extent = caption.get_window_extent(figure.canvas.get_renderer())
    assert extent.x1 <= figure.bbox.width and extent.y1 <= figure.axes[0].get_tightbbox().y0

    small = explained(Image.new("L", (90, 20), 128), "First row: images.")
    picture = captioned(small, "nearest_rows", about)
    assert picture.width >= WIDTH and picture.height > 6 * 20  # enlarged, with room for the texts
    assert len(set(picture.crop((0, 0, picture.width, 40)).tobytes())) > 2  # a title


def test_figures_of_sweeps_name_the_metric_the_jobs_and_the_command():
    from mlrun.sweep.figures import sweep_figure

    settings = [{"optim.lr": rate, "seed": seed} for rate in ("0.001", "0.1") for seed in ("1", "2")]
    jobs = [("val/accuracy", 0.9 - place / 10) for place in range(4)]
    figure = sweep_figure(jobs, settings, "mlrun -m optim.lr=0.001,0.1 seed=1,2")
    texts = [text.get_text() for text in figure.texts]
    assert "val/accuracy of 4 jobs" in texts and "mlrun -m optim.lr=0.001,0.1 seed=1,2" in texts
    first, second = figure.axes
    assert (first.get_xlabel(), second.get_xlabel()) == ("optim.lr (log scale)", "seed")
    assert first.get_ylabel() == "val/accuracy" and figure.get_size_inches()[0] * figure.dpi >= 600
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["job", "mean"]
