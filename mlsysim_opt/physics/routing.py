"""Routing of tokens to experts: traffic, time of the all-to-all, and what uneven loads do.

Tokens are spread over the ranks of expert parallelism, and each is sent to `experts_per_token` of the experts and back
in every layer that has experts. Uneven routing moves work, it does not make any: copies and bytes in all stay the same,
and everybody waits for the fullest rank.

Sources: Shazeer et al. 2017; Lepikhin et al. 2021 (GShard: capacity factor, dropped tokens, all-to-all); Rajbhandari et
al. 2022 (DeepSpeed-MoE: dispatch and combine); DeepSeek-AI 2024 (dispatch in FP8, combine in BF16).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mlsysim_opt.algebra.atoms import divides, minimum
from mlsysim_opt.algebra.expression import Expression, expression
from mlsysim_opt.errors import InputError
from mlsysim_opt.physics.base import Model, Result
from mlsysim_opt.physics.collectives import Network
from mlsysim_opt.physics.formats import bytes_of
from mlsysim_opt.physics.inputs import Given, Number, Text
from mlsysim_opt.physics.training import calibration_bindings, calibration_view
from mlsysim_opt.physics.transformer import ONE, Shapes, parameter_count
from mlsysim_opt.physics.view import View


class MoERoutingResult(Result):
    """Traffic and time of routing, and the load of the fullest rank."""

    units: ClassVar[dict[str, str]] = {
        "token_dispatch_bytes": "MB", "token_combine_bytes": "MB", "bytes_all_layers": "GB", "all_to_all_latency": "ms",
        "layer_all_to_all_latency": "us",
    }  # fmt: skip
    active_parameters: Any
    effective_active_parameters: Any
    active_parameter_multiplier: Any
    effective_active_experts: Any
    routing_imbalance_factor: Any
    fullest_rank_load: Any
    fullest_drop_rate: Any
    token_dispatch_bytes: Any
    token_combine_bytes: Any
    bytes_all_layers: Any
    layer_all_to_all_latency: Any
    all_to_all_latency: Any
    ep_size: Any


class MoERoutingModel(Model):
    """Expert-parallel routing of one forward pass.

    `batch_size` sequences are those of all `ep_size` ranks together. `routing_imbalance_factor` is the load of the
    fullest rank over the mean; one rank alone cannot be fuller than itself. A `capacity_factor` caps it: what the
    fullest rank would get beyond is dropped, the share `fullest_drop_rate` of its tokens (an upper bound of the share
    of all).

    `active_parameters` are those one token uses. `effective_active_parameters` counts the routed ones with the load of
    the fullest rank (`fullest_rank_load`), for which all wait: the speed of the layer, not the work of the job.
    `token_dispatch_bytes` and `token_combine_bytes` leave their rank in one layer, over all ranks; `bytes_all_layers`
    is both over all layers. `all_to_all_latency` is the time of both over all layers on the `fleet`, ranks placed
    node by node; without a fleet there is no such field.

    Sources: see `routing`.
    """

    wall = 14
    inputs = (
        Given("model", kind="model"),
        Number("batch_size", "sequences over all ranks", integer=True, low=1),
        Number("seq_len", "tokens per sequence", integer=True, low=1),
        Text("precision", "format in which tokens are sent to experts", default="fp16"),
        Number("ep_size", "ranks the experts are spread over", default=1, integer=True, low=1),
        Number("routing_imbalance_factor", "load of the fullest rank over the mean", default=1.0, low=1.0),
        Given("fleet", kind="fleet", default=None),
        Text("combine_precision", "format of what comes back; as sent where absent", default=None),
        Number("capacity_factor", "most that a rank takes over the mean; no limit where absent", default=None,
               open_low=True),
        Number("congestion_factor", "divides the bandwidth between nodes", default=1.0, low=1.0),
    )  # fmt: skip
    aliases: ClassVar[dict[str, str]] = {
        "ep": "ep_size", "imbalance": "routing_imbalance_factor",
        "moe_routing_imbalance_factor": "routing_imbalance_factor",
    }  # fmt: skip
    example: ClassVar[dict[str, Any]] = {
        "model": "Mixtral_8x7B", "batch_size": 64, "seq_len": 4096, "ep_size": 8, "fleet": "Lab_64_H100",
    }  # fmt: skip

    def check(self, *args: Any, **given: Any) -> dict[str, Any]:
        values = super().check(*args, **given)
        if values["model"].moe is None:
            raise InputError(f"{values['model'].name} has no experts to route to", path="model")
        return values

    def bindings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        fleet = values["fleet"]
        return {} if fleet is None else calibration_bindings(fleet.node.accelerator)

    def equations(self, **leaves: Any) -> MoERoutingResult:
        model: View = leaves["model"]
        shapes, ranks = Shapes(model, ONE), leaves["ep_size"]
        used = model.number("moe.experts_per_token")
        asked = minimum(leaves["routing_imbalance_factor"], ranks)
        capacity = leaves["capacity_factor"]
        load = asked if capacity is None else minimum(asked, capacity)
        out, back = leaves["precision"], leaves["combine_precision"]
        sent = expression(f"{bytes_of(out)} byte")
        returned = sent if back is None else expression(f"{bytes_of(back, 'combine_precision')} byte")

        routed = shapes.expert_layers * used * shapes.expert_parameters
        resident = shapes.expert_layers * model.number("moe.experts") * shapes.expert_parameters
        active = parameter_count(model) - resident + routed
        elements = leaves["batch_size"] * leaves["seq_len"] * used * shapes.expert_hidden
        leaving = elements * (ranks - 1) / ranks
        layer, all_layers = self._times(leaves, elements / ranks * load, sent, returned, shapes)
        effective = active + routed * (load - 1)
        return MoERoutingResult(
            active_parameters=active,
            effective_active_parameters=effective,
            active_parameter_multiplier=effective / active,
            effective_active_experts=minimum(used * load, model.number("moe.experts")),
            routing_imbalance_factor=leaves["routing_imbalance_factor"],
            fullest_rank_load=load,
            fullest_drop_rate=1 - load / asked,
            token_dispatch_bytes=leaving * sent,
            token_combine_bytes=leaving * returned,
            bytes_all_layers=shapes.expert_layers * leaving * (sent + returned),
            layer_all_to_all_latency=layer,
            all_to_all_latency=all_layers,
            ep_size=ranks,
            constraints=self._rules(leaves),
        )

    @staticmethod
    def _times(
        leaves: Mapping[str, Any], elements: Expression, sent: Expression, returned: Expression, shapes: Shapes
    ) -> tuple[Expression | None, Expression | None]:
        """Return the time of dispatch and combine of the fullest rank, in one layer and in all."""
        fleet: View | None = leaves["fleet"]
        if fleet is None:
            return None, None
        node = fleet.below("node")
        calibration = calibration_view(node.below("accelerator"))
        network = Network.of(node, fleet.below("fabric"), calibration, leaves["congestion_factor"])
        ranks = leaves["ep_size"]
        layer = network.all_to_all(elements * sent, ranks, ONE) + network.all_to_all(elements * returned, ranks, ONE)
        return layer, shapes.expert_layers * layer

    @staticmethod
    def _rules(leaves: Mapping[str, Any]) -> dict[str, Expression]:
        ranks, fleet = leaves["ep_size"], leaves["fleet"]
        rules = {"ep divides the experts": divides(ranks, leaves["model"].number("moe.experts"))}
        if fleet is not None:
            rules["the fleet has enough accelerators"] = (
                ranks <= fleet.node_count * fleet.below("node").accelerators_per_node
            )
        return rules
