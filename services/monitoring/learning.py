"""Does it learn, and does what it learns beat the simple baseline?"""

from __future__ import annotations

from services.monitoring.panels import RED, STARTS, VERSIONS, YELLOW, Dashboard, Panel, Query, TemplateVariable

_NO_STEP = "no gradient step yet"
_AWAY = "the trainer can't be reached"
_NOT_JUDGED = "no event has been judged yet"

LEARNING = Dashboard(
    uid="freshet-learning",
    title="Learning",
    about="Does it learn, and is what it learns better than the baseline? Blue marks are model versions.",
    marks=(VERSIONS, STARTS),
    variables=(
        TemplateVariable("k", "First k products", ("10", "5", "20")),
        TemplateVariable("window", "Judged events", ("recent", "learned", "all")),
    ),
    sections={
        "Is it better than the baseline?": [
            Panel(
                title="How often is the next product among the first $k?",
                about="HR@k: each event is judged before it is learned. learned is what is served, the others are "
                "baselines on the same events: trending, repeat (what the user had before), markov (what followed it "
                "for others). Window recent: the newest events; learned: those that a version judged.",
                unit="percentunit",
                queries=[Query('freshet_evaluator_hit_ratio{k="$k",window="$window"}', "{{policy}}")],
                empty=_NOT_JUDGED,
            ),
            Panel(
                title="How far up is it among the first $k?",
                about="NDCG@k of the same events: 1 where the next product is the first of the list, 0 where it is not "
                "among the k.",
                unit="percentunit",
                queries=[Query('freshet_evaluator_ndcg_ratio{k="$k",window="$window"}', "{{policy}}")],
                empty=_NOT_JUDGED,
            ),
            Panel(
                title="How many times better than the best baseline is it?",
                about="NDCG@k of learned divided by the best baseline's. Below 1 the baseline is better: serve it "
                "(FRESHET_TRAINER_POLICY), pin an older version (`freshet models`), or let it learn on.",
                unit="short",
                queries=[
                    Query(
                        'freshet_evaluator_ndcg_ratio{k="$k",window="$window",policy="learned"}'
                        " / ignoring (policy) max without (policy)"
                        ' (freshet_evaluator_ndcg_ratio{k="$k",window="$window",policy!="learned"})',
                        "times",
                    )
                ],
                empty=_NOT_JUDGED,
            ),
            Panel(
                title="Is a single expert ahead of what is served?",
                about="Regret: NDCG@10 of the best expert alone minus that of what is served, on the same events. "
                "Below 0 the mixture is ahead. Recent above 0.02 for an hour: see the alert ExpertAhead.",
                unit="percentunit",
                queries=[Query("freshet_evaluator_regret_ratio", "{{window}}")],
                empty=_NOT_JUDGED,
                minimum=None,
                steps=[(0.02, RED)],
            ),
            Panel(
                title="How well would each expert do alone?",
                about="NDCG@10 of each part of the mixture, with a trace of what is trending, beside what is served. "
                "popular-6h: popularity that halves in 6 hours; next, together, itself: what followed or came near the "
                "user's products, and these again; sessions: what users with newest events like these did.",
                unit="percentunit",
                queries=[
                    Query('freshet_evaluator_expert_ndcg_ratio{window="$window"}', "{{expert}}"),
                    Query('freshet_evaluator_ndcg_ratio{k="10",window="$window",policy="learned"}', "served"),
                ],
                empty=_NOT_JUDGED,
            ),
            Panel(
                title="What is the mean reciprocal rank?",
                about="Mean of 1 / place of the next product.",
                unit="percentunit",
                queries=[Query('freshet_evaluator_mrr_ratio{window="$window"}', "{{policy}}")],
                empty=_NOT_JUDGED,
            ),
            Panel(
                title="How much of the catalogue is shown?",
                about="Share of the known products among the recent answers. Trending shows everybody the same.",
                unit="percentunit",
                queries=[Query("freshet_evaluator_coverage_ratio", "{{policy}}")],
                empty=_NOT_JUDGED,
            ),
            Panel(
                title="How surprising are the products shown?",
                about="Mean self-information of the recent answers: the more bits, the less popular.",
                unit="suffix: bits",
                queries=[Query("freshet_evaluator_novelty_bits", "{{policy}}")],
                empty=_NOT_JUDGED,
            ),
        ],
        "Does it learn?": [
            Panel(
                title="Does the loss fall?",
                about="Of the last gradient step: the whole, its cross-entropy part in nats, and its temporal-"
                "difference part. It grows with the number of products at first.",
                unit="none",
                queries=[
                    Query("freshet_trainer_loss", "loss"),
                    Query("freshet_trainer_ce_loss", "cross-entropy"),
                    Query("freshet_trainer_td_loss", "temporal difference"),
                ],
                empty=_NO_STEP,
            ),
            Panel(
                title="How much reward does it expect?",
                about="Mean over the last batch of the highest Q of each state. Rewards are at most 1, so "
                "1/(1-discount), 2 by default, is never passed by much; a line that runs away is learning gone wrong.",
                unit="none",
                queries=[Query("freshet_trainer_mean_max_q", "mean max Q")],
                empty=_NO_STEP,
                minimum=None,
            ),
            Panel(
                title="How much reward does it get?",
                about="Mean reward of the events that came, over five minutes.",
                unit="none",
                queries=[
                    Query(
                        '(sum(rate(freshet_features_rewards_total{sign="positive"}[5m]))'
                        ' - sum(rate(freshet_features_rewards_total{sign="negative"}[5m])))'
                        " / sum(rate(freshet_features_reward_bucket{le='+Inf'}[5m]))",
                        "mean reward",
                    )
                ],
                empty="no event came in the last five minutes",
                minimum=None,
            ),
            Panel(
                title="How much does it explore?",
                about="ε: the share of answers that would be drawn at random where exploration is on. It decays with "
                "every event to its floor.",
                unit="percentunit",
                queries=[Query("freshet_trainer_epsilon", "ε")],
                empty=_AWAY,
                maximum=1.0,
            ),
            Panel(
                title="How much does each part of the answer count?",
                about="Weights of the experts that count, learned, summing to 1: popularity at all half-lives; what "
                "followed the user's products (next), came near them (together), or is one of them (itself); and what "
                "users with newest events like these did (sessions).",
                unit="percentunit",
                queries=[Query("freshet_trainer_mixture_ratio", "{{part}}")],
                empty=_AWAY,
                maximum=1.0,
                stacked=True,
            ),
            Panel(
                title="What share of the score has the network?",
                about="Of the spread among the candidates: what the mixture of counts gives, what the choice head (ce) "
                "and the value head (q) of the action network add. 0: the head does not beat what is without it.",
                unit="percentunit",
                queries=[Query("freshet_trainer_score_ratio", "{{part}}")],
                empty=_AWAY,
                maximum=1.0,
                stacked=True,
            ),
            Panel(
                title="At how many events had each head a weight?",
                about="Share of all events learned from: a head that never had a weight has proven nothing.",
                unit="percentunit",
                queries=[Query("freshet_trainer_scored_events_ratio", "{{head}}")],
                empty=_AWAY,
                maximum=1.0,
            ),
            Panel(
                title="How much data does it learn from?",
                about="Transitions in the replay buffer, users and products known.",
                unit="short",
                queries=[
                    Query("freshet_trainer_buffer_size", "transitions"),
                    Query("freshet_trainer_users", "users"),
                    Query("freshet_trainer_products", "products"),
                ],
                empty=_AWAY,
            ),
        ],
        "Does it keep up?": [
            Panel(
                title="How many events and gradient steps a second?",
                about="Steps become rarer with more transitions, so that the learner of a busy shop keeps up. Some are "
                "skipped while it is behind, where FRESHET_TRAINER_PACE is adaptive.",
                unit="ops",
                queries=[
                    Query("sum(rate(freshet_trainer_applied_events_total[$__rate_interval]))", "events"),
                    Query("sum(rate(freshet_trainer_steps_total[$__rate_interval]))", "steps"),
                    Query("sum(rate(freshet_trainer_steps_skipped_total[$__rate_interval]))", "skipped"),
                ],
                empty=_AWAY,
            ),
            Panel(
                title="How long do a step, a checkpoint, a version take?",
                about="95th percentile, over five minutes.",
                unit="s",
                queries=[
                    Query(
                        f"histogram_quantile(0.95, sum by (le) (rate(freshet_trainer_{name}_seconds_bucket[5m])))",
                        label,
                    )
                    for name, label in (("step", "step"), ("checkpoint", "checkpoint"), ("publish", "version"))
                ],
                empty="nothing was learned in the last five minutes",
                logarithmic=True,
                minimum=None,
            ),
            Panel(
                title="How soon does the next version come?",
                about="Events learned since the newest version, beside how many make one. Well above it: checkpoints "
                "or versions can't be written, and the trainer's log says why.",
                unit="short",
                queries=[
                    Query("freshet_trainer_unpublished_events", "since the newest"),
                    Query("freshet_trainer_publish_events", "make a version"),
                ],
                empty=_AWAY,
            ),
            Panel(
                title="How many versions were published in the last hour?",
                about="And how many versions or checkpoints could not be written.",
                unit="short",
                queries=[
                    Query("sum(increase(freshet_trainer_versions_total[1h]))", "versions"),
                ],
                empty=_AWAY,
                kind="stat",
                decimals=0,
            ),
            Panel(
                title="How many writes failed in the last hour?",
                about="Versions, checkpoints, and the removal of old ones. Perhaps the disk is full: the "
                "trainer's log says why.",
                unit="short",
                queries=[
                    Query("sum(increase(freshet_trainer_publish_failures_total[1h]))", "versions"),
                    Query("sum(increase(freshet_trainer_checkpoint_failures_total[1h]))", "checkpoints"),
                    Query("sum(increase(freshet_trainer_removal_failures_total[1h]))", "removals"),
                ],
                empty=_AWAY,
                kind="stat",
                decimals=0,
                steps=[(1, RED)],
            ),
            Panel(
                title="How many versions wait to be judged, and how many can't be?",
                about="A version is judged only on events that it has not learned from. One left out is damaged: "
                "the evaluator's log says how.",
                unit="short",
                queries=[
                    Query("freshet_evaluator_held_back_versions", "wait"),
                    Query("sum(freshet_evaluator_versions_left_out_total)", "left out"),
                ],
                empty="the evaluator can't be reached",
                kind="stat",
                steps=[(20, YELLOW)],
            ),
        ],
    },
)
