"""Polygons, boxes and masks that the tests of the mask operators share."""

import torch


def random_instances(count, extent, seed=0):
    """Instances of one to three polygons of 3 to 20 vertices: coords, polygon_starts, instance_starts.

    A third of the polygons has whole coordinates, some give vertices twice, some have no area.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high, (1,), generator=generator))

    coords, polygon_starts, instance_starts = [], [0], [0]
    for _ in range(count):
        for _ in range(draw(1, 4)):
            vertices = torch.rand(draw(3, 21), 2, generator=generator) * extent * 1.2 - extent * 0.1
            kind = draw(0, 6)
            if kind < 2:
                vertices = vertices.round()
            elif kind == 2:
                vertices = torch.cat([vertices, vertices[-1:], vertices[:1]])
            elif kind == 3:
                vertices[:, draw(0, 2)] = vertices[0, 0]  # no area
            coords.append(vertices)
            polygon_starts.append(polygon_starts[-1] + len(vertices))
        instance_starts.append(len(polygon_starts) - 1)
    return torch.cat(coords), torch.tensor(polygon_starts), torch.tensor(instance_starts)


def random_boxes(count, image_hw, seed=0):
    """Boxes [count, 4] of all sizes, some partly outside the image; the last ones cover it or miss it."""
    generator = torch.Generator().manual_seed(seed)
    height, width = image_hw
    corners = torch.rand(count, 2, 2, generator=generator) * torch.tensor([width, height]) * 1.4
    corners = corners - torch.tensor([width, height]) * 0.2
    boxes = torch.cat([corners.amin(1), corners.amax(1)], dim=1)
    boxes[-4:] = torch.tensor(
        [
            [-20.0, -20.0, width + 20.0, height + 20.0],
            [0.0, 0.0, width - 1.0, height - 1.0],
            [5.0, 5.0, 5.0, 5.0],
            [-9.0, -9.0, -5.0, -5.0],
        ]
    )
    return boxes


def smooth_masks(count, size, seed=0):
    """Probabilities [count, size, size] that vary slowly, as a mask head's do."""
    coarse = torch.rand(count, 1, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1).squeeze(1)
