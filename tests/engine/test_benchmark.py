"""The data benchmark measures both sides; what they are is not tested."""

import moganet


def test_the_pipeline_and_the_network_are_both_timed():
    overrides = {"network.embed_dims": [8, 8, 16, 16], "network.depths": [1, 1, 1, 1], "data.batch_size": 32}
    result = moganet.benchmark_data("digits", overrides=overrides)
    assert result["images_per_second"] > 0 and result["training_images_per_second"] > 0
    assert result["ratio"] == result["images_per_second"] / result["training_images_per_second"]
    assert result["size"] == [32, 32] and result["environment"]["cores"] >= 1
