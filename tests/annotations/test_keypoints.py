"""Key points that cannot be are named, and put right."""

from fpt.annotations.ground_truth import make_ground_truth
from fpt.annotations.store import open_annotations


def _open(coco_folder, points, **category):
    coco_folder.content["categories"][0] |= {"keypoints": ["a", "b"], "skeleton": [[1, 2]], **category}
    coco_folder.annotations[0]["keypoints"] = points
    return open_annotations(coco_folder.write())


def test_points_that_are_right(coco_folder):
    store = _open(coco_folder, [5, 7, 2, 0, 0, 0])
    assert store.report.findings == []
    assert store.packed.keypoints_of(0).tolist() == [[5, 7, 2], [0, 0, 0]]
    assert store.categories.keypoint_names == ((), ("a", "b"))
    assert store.categories.skeletons == ((), ((0, 1),))
    again = open_annotations(coco_folder.ann_file)
    assert again.cache_path is not None
    assert again.categories == store.categories
    truth = make_ground_truth(store.packed, store.categories).annotations
    assert [item.get("keypoints") for item in truth] == [[5, 7, 2, 0, 0, 0], None, None, None]
    assert truth[0]["num_keypoints"] == 1


def test_another_number_than_the_class_has(coco_folder):
    store = _open(coco_folder, [5, 7, 2] * 3)
    text = store.report.text()
    assert (
        "1 x objects with another number of key points than their class: points dropped [annotation 1 has 3 of 2]"
        in text
    )
    assert store.packed.keypoints_of(0).shape == (0, 3)
    assert make_ground_truth(store.packed, store.categories).annotations[0]["keypoints"] == [0] * 6


def test_odd_visibilities(coco_folder):
    store = _open(coco_folder, [5, 7, 3, 6, 8, -1])
    assert "2 x key points whose visibility is not 0, 1 or 2: above 0 taken as seen" in store.report.text()
    assert store.packed.keypoints_of(0)[:, 2].tolist() == [2, 0]


def test_points_outside_of_the_image(coco_folder):
    store = _open(coco_folder, [40, 30, 2, 90, 7, 1])  # the image is 30 x 40
    assert (
        "1 x annotated key points outside of their image: taken as not annotated [annotation 1]" in store.report.text()
    )
    assert store.packed.keypoints_of(0)[:, 2].tolist() == [2, 0]


def test_skeletons_of_any_content_do_not_matter(coco_folder):
    store = _open(coco_folder, [5, 7, 2, 0, 0, 0], skeleton=[[1, 2], [0, 1], [1, 3], [1], "12", 7, ["1", "2"]])
    assert store.categories.skeletons[1] == ((0, 1), (0, 1))
    assert store.report.findings == []
