"""`bev_pool` as gathers, one batched matrix product and sums over padding: standard ONNX operators only.

The points of one image column (camera n, feature column w) stand above one another: a whole column of H pixels meets
few cells. So the plan gives every column slots, a slot being one cell and at most one depth a row, and the sum runs
in three steps, each of a size that configuration fixes:

1. within columns: sums of slots = depth gathered to [R H] @ context [H C], a matrix product a column;
2. a crowded cell (near a camera many columns meet it) joins its slots in groups of `GROUP`;
3. every cell sums its up to K slots or groups.

On nuScenes rigs 25 thousand slots hold the 436 thousand points that PowerBEV's cameras have on its grid, and nothing
of the size of the lifted tensor exists. Padding points at zeros: at an appended zero depth, and at an empty slot.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bevkit.checks import expect
from bevkit.ops.bev_pool import accumulator, check_operands, first_cells

GROUP = 16  # slots of one group
CROWDED = 8  # one cell in so many may be crowded


class TablePlan(NamedTuple):
    """The three gathers for M rigs; every entry is an int32 index into the flat tensor that it reads.

    Attributes:
        taps: [M N W R H] into depth [M*N D H W], one past its end for nothing.
        groups: [M Q GROUP] into slots [M*N*W*R].
        members: [M Y*X K] into slots followed by groups.
    """

    taps: Tensor
    groups: Tensor
    members: Tensor


@dataclass(frozen=True)
class TablePooling:
    """`bev_pool` in exportable form.

    Args:
        shape: rows and columns (Y, X) of the map.
        capacity: how many cells an image column may meet per depth. A level camera needs one to two and a half (its
            columns are nearly vertical), one that is tilted by 10 degrees about seven.
    """

    shape: tuple[int, int]
    capacity: float

    def plan(self, cells: Tensor) -> TablePlan:
        """Fills the tables from cells [M N D H W] (-1 = off the grid); raises ValueError when the capacity is short."""
        axes = expect("cells", cells, "M N D H W")
        area = self.shape[0] * self.shape[1]
        # One slot more than the capacity: the last slot of every column stays empty, for padding to point at.
        slots = min(math.ceil(self.capacity * axes["D"]), axes["D"] * axes["H"]) + 1
        taps, slot_rows, slot_cells = _fill_columns(cells, area, slots, self.capacity)
        groups, members = _fill_cells(slot_rows, slot_cells, axes["M"], area, members=math.ceil(self.capacity) + 1,
                                      first_group=taps[..., 0].numel(), empty=slots - 1)
        return TablePlan(taps, groups, members)

    def __call__(self, depth: Tensor, context: Tensor, *plan: Tensor) -> Tensor:
        return bev_pool_tables(depth, context, TablePlan(*plan), self.shape)


def bev_pool_tables(depth: Tensor, context: Tensor, plan: TablePlan, shape: tuple[int, int]) -> Tensor:
    """Computes `bev_pool` of depth [M*N D H W] and context [M*N C H W] with tables: [M C Y X].

    Columns are summed by a matrix product in the operands' dtype, columns to cells in float32 or wider.
    """
    check_operands(depth, context, expect("plan.taps", plan.taps, "M N W R H"))
    rigs, cameras, columns, slots, rows = plan.taps.shape
    dtype, result = accumulator(depth, context)
    depth, context = depth.to(result), context.to(result)
    channels = context.shape[1]
    flat = torch.cat((depth.flatten(), depth.new_zeros(1)))
    taps = flat.index_select(0, plan.taps.flatten()).view(rigs * cameras * columns, slots, rows)  # [V*W R H]
    context = context.permute(0, 3, 2, 1).reshape(rigs * cameras * columns, rows, channels)  # [V*W H C]
    sums = (taps @ context).view(-1, channels)  # [V*W*R C]
    sums = torch.cat((sums, _sum_rows(sums, plan.groups, dtype).to(result)))
    bev = _sum_rows(sums, plan.members, dtype).to(result)  # [M*Y*X C]
    return bev.view(rigs, -1, channels).transpose(1, 2).reshape(rigs, channels, *shape)


def _sum_rows(rows: Tensor, table: Tensor, dtype: torch.dtype) -> Tensor:
    """Sums the rows [* C] that each line of a table [M L K] names: [M*L C]."""
    first, *others = table.unbind(dim=-1)
    total = rows.index_select(0, first.flatten()).to(dtype)
    for part in others:  # one by one: [M*L K C] is never built, and a compiler joins each gather to its sum
        total = total + rows.index_select(0, part.flatten()).to(dtype)
    return total


def _rank(keys: Tensor) -> Tensor:
    """Counts, along sorted keys [S], how many equal ones stand before each."""
    position = torch.arange(len(keys), device=keys.device)
    return position - torch.searchsorted(keys, keys)


def _fill_columns(cells: Tensor, area: int, slots: int, capacity: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gives every (column, cell) its slots, more than one where several depths of a pixel share a cell.

    Returns taps [M N W R H], and of every slot in use its flat row [S] and its cell [S] in the maps of all rigs.
    """
    rigs, cameras, depths, rows, columns = cells.shape
    points = (cells.flatten() >= 0).nonzero().squeeze(1)  # [S] flat points on the grid
    place = first_cells(dict(zip("MNDHW", cells.shape)), area, cells.device) + cells
    place = place.flatten()[points].long()
    view, row, column = points // (depths * rows * columns), points // columns % rows, points % columns
    keys, order = (((view * columns + column) * rigs * area + place) * rows + row).sort(stable=True)
    points, row, place = points[order], row[order], place[order]
    keys, slot = torch.unique((keys // rows) * depths + _rank(keys), return_inverse=True)  # (column, cell, turn)
    line = keys // (rigs * area * depths)  # [S] column of each slot
    turn = _rank(line)
    needed = int(turn.max()) + 1 if len(turn) else 0
    if needed > slots - 1:
        raise ValueError(f"rig: expected an image column to meet at most {slots - 1} cells (export_capacity "
                         f"{capacity:g} x {depths} depths), got {needed}; raise export_capacity to "
                         f"{math.ceil(10 * needed / depths) / 10} and export again, or level the cameras")
    taps = torch.full((rigs * cameras * columns * slots, rows), cells.numel(), dtype=torch.int32, device=cells.device)
    flat_rows = line * slots + turn
    taps[flat_rows[slot], row] = points.to(torch.int32)
    return taps.view(rigs, cameras, columns, slots, rows), flat_rows, keys // depths % (rigs * area)


def _fill_cells(slot_rows: Tensor, slot_cells: Tensor, rigs: int, area: int, members: int, first_group: int,
                empty: int) -> tuple[Tensor, Tensor]:
    """Lists the slots of every cell: directly where ``members`` hold them, else in groups.

    Returns groups [M Q GROUP] and members [M Y*X K].
    """
    size = math.ceil(area / CROWDED)
    cells, order = slot_cells.sort(stable=True)
    rows, turn = slot_rows[order].to(torch.int32), _rank(cells)
    count = torch.bincount(cells, minlength=rigs * area)
    if int(count.max()) > members * GROUP:
        raise ValueError(f"rig: expected at most {members * GROUP} image columns to meet in a cell, got "
                         f"{int(count.max())}; raise export_capacity to {math.ceil(int(count.max()) / GROUP) - 1} and "
                         f"export again")
    crowded = count[cells] > members
    table = torch.full((rigs * area, members), empty, dtype=torch.int32, device=rows.device)
    table[cells[~crowded], turn[~crowded]] = rows[~crowded]

    rows, turn = rows[crowded], turn[crowded]
    keys, group = torch.unique(cells[crowded] * members + turn // GROUP, return_inverse=True)  # (cell, its group)
    rig = keys // (members * area)
    rank = _rank(rig)  # of the group in its rig
    if len(rank) and int(rank.max()) >= size:
        raise ValueError(f"rig: expected at most {size} groups in a map, got {int(rank.max()) + 1}, as too many cells "
                         f"meet more than {members} image columns; raise export_capacity and export again")
    groups = torch.full((rigs * size, GROUP), empty, dtype=torch.int32, device=rows.device)
    groups[(rig * size + rank)[group], turn % GROUP] = rows
    table[keys // members, keys % members] = (first_group + rig * size + rank).to(torch.int32)
    return groups.view(rigs, size, GROUP), table.view(rigs, area, members)
