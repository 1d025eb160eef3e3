//! Every planted bug: its class, its room, what it breaks and who should notice.
//!
//! A number before a colon is that of the class in the project's checklist of bugs that other
//! consensus stores shipped; a pitfall is one that the papers or their errata warn of; a mutation is
//! a change of one condition.

use std::cell::Cell;

thread_local! {
    /// The bug of this thread: a simulation runs in one.
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants `bug` in this thread, in place of the one before, or none.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether `bug` is planted in this thread.
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Declares the bugs: per room, each with what it breaks, its class, and what should catch it.
macro_rules! bugs {
    ($($room:ident { $($(#[doc = $breaks:literal])+ $name:ident: $class:literal => $catcher:literal,)+ })+) => {
        /// A mistake that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug {
            $($($(#[doc = $breaks])+ $name,)+)+
        }

        impl Bug {
            /// Every bug, room by room.
            pub const ALL: &[Bug] = &[$($(Bug::$name,)+)+];

            /// The room where its site is.
            #[must_use]
            pub fn room(self) -> &'static str {
                match self {
                    $($(Bug::$name)|+ => stringify!($room),)+
                }
            }

            /// Which known mistake it is.
            #[must_use]
            pub fn class(self) -> &'static str {
                match self {
                    $($(Bug::$name => $class,)+)+
                }
            }

            /// What it breaks, in a sentence.
            #[must_use]
            pub fn breaks(self) -> &'static str {
                match self {
                    $($(Bug::$name => concat!($($breaks),+).trim_ascii(),)+)+
                }
            }

            /// What is expected to notice it first.
            #[must_use]
            pub fn catcher(self) -> &'static str {
                match self {
                    $($(Bug::$name => $catcher,)+)+
                }
            }
        }
    };
}

bugs! {
    raft {
        /// A leader begins its term without an entry of its own, and commits those of earlier terms by
        /// counting copies (§5.4.2, figure 8).
        CommitsPriorTerm: "8: prior-term commit" => "leader completeness",
        /// Two of four voters decide, so two halves of a cluster do.
        HalfIsAMajority: "10: commit on a quorum that never existed" => "election safety",
        /// While a joint configuration lasts, its incoming voters decide alone (§6).
        JointNeedsOneMajority: "4: membership change and partition lose acknowledged writes" => "durable before acknowledged",
        /// A majority of the learners decides as well as one of the voters does.
        LearnersDecide: "10: commit on a quorum that never existed" => "durable before acknowledged",
        /// A voter votes for whoever asks, as often as it is asked in a term (§5.2).
        VotesTwice: "9: two leaders in a term" => "election safety",
        /// The term begins again with a free vote after each restart.
        ForgetsVote: "9: two leaders in a term" => "election safety",
        /// A vote is told before the disk has it.
        TellsVoteBeforeSync: "1: acknowledged before sync" => "durable before acknowledged",
        /// A term that was entered without voting is not stored.
        TermNotPersisted: "mutation: hard state" => "monotonic term",
        /// A voter does not compare the candidate's log with its own (§5.4.1).
        VotesForStaleLog: "mutation: election restriction" => "leader completeness",
        /// The longer log wins, whatever the terms of its last entries (§5.4.1).
        ComparesLogsByLength: "mutation: election restriction" => "leader completeness",
        /// A campaign asks for votes in the current term, in which the candidate may have voted.
        CampaignsInOldTerm: "9: two leaders in a term" => "election safety",
        /// Messages of earlier terms are handled like those of this one (§5.1).
        AcceptsStaleTerm: "mutation: term check" => "election safety",
        /// A new leader takes it that everybody's log equals its own.
        MatchAssumed: "10: commit on a quorum that never existed" => "leader completeness",
        /// A follower acknowledges all that the leader has committed, also what it does not hold.
        AcknowledgesUnverified: "10: commit on a quorum that never existed" => "state machine safety",
        /// A follower commits beyond the last entry that it knows to be the leader's (§5.3).
        CommitsUnverified: "mutation: commit bound" => "state machine safety",
        /// A heartbeat carries a commit index beyond what the follower is known to hold.
        HeartbeatCommitBeyondMatch: "Raft pitfall: heartbeat's commit index" => "state machine safety",
        /// A late append cuts off the entries that a newer one brought and the follower acknowledged.
        TruncatesMatchingSuffix: "12: an append deletes a matching suffix" => "leader completeness",
        /// A follower checks that the entry before an append exists, not that it is of its term (§5.3).
        PrevTermUnchecked: "mutation: consistency check" => "log matching",
        /// Entries that replace truncated ones are never given to the disk.
        RewriteNotStored: "12: an append deletes a matching suffix" => "durable before acknowledged",
        /// An acknowledgement of entries leaves before the disk has them.
        AcknowledgesBeforeSync: "1: acknowledged before sync" => "durable before acknowledged",
        /// A leader counts entries as stored by itself that its disk does not have yet.
        LeaderCountsUnsynced: "1: acknowledged before sync" => "durable before acknowledged",
        /// A leader whose disk hangs goes on leading; its heartbeats keep the others quiet.
        StalledDiskLeads: "14: hung disk of a leader whose heartbeats go on" => "liveness: writes are answered after healing",
        /// An append lost in the pipeline is never asked about again.
        PipelineWedges: "14: the pipeline wedges after a stall" => "liveness: members catch up",
        /// A follower's refusal of an append does not move the leader back.
        RejectionIgnored: "mutation: consistency check" => "liveness: members catch up",
        /// A transfer of leadership to a server that does not answer never ends.
        TransferNeverExpires: "mutation: leadership transfer" => "liveness: commits after healing",
        /// A configuration counts only from its commit on (§6).
        ConfigInForceOnCommit: "Raft pitfall: configuration effective on append" => "one membership change in flight",
        /// A truncated configuration stays in force (§6).
        ConfigNotRolledBack: "9: bad configuration rollback" => "quorum overlap",
        /// A new leader changes the voters in one step and before it has committed in its term: the
        /// bug of 2015 in single-server changes.
        ChangesBeforeTermCommit: "Raft pitfall: change only after a commit in the term" => "quorum overlap",
        /// Voters are exchanged without a joint configuration (§6).
        SkipsJoint: "4: membership change and partition lose acknowledged writes" => "quorum overlap",
        /// The next change of configuration does not wait for the one before.
        ChangesOverlap: "4: membership change and partition lose acknowledged writes" => "one membership change in flight",
        /// A removed leader goes on leading when its removal is committed (§6, thesis §4.2.2).
        RemovedLeaderLeads: "Raft pitfall: a removed leader steps down" => "a leader is a voter, or its removal is not committed",
        /// A leader that reaches no majority goes on leading (thesis §6.2).
        NoCheckQuorum: "Raft pitfall: check-quorum" => "liveness: commits after healing",
        /// Whoever hears no leader campaigns in earnest, and who hears one helps to replace it all the
        /// same (§6, thesis §4.2.3).
        NoStickiness: "Raft pitfall: stickiness, and removed servers must not disrupt" => "liveness: the leader stays after healing",
        /// The question whether one would win raises everybody's term (thesis §9.6).
        PreVoteEntersTerm: "Raft pitfall: pre-vote" => "liveness: the leader stays after healing",
        /// A leader serves reads without asking whether it still leads (thesis §6.4).
        ReadsWithoutRound: "mutation: read path" => "linearizability",
        /// A new leader serves reads before its commit index has caught up (thesis §6.4).
        ReadsBeforeTermCommit: "Raft pitfall: reads of a new leader" => "linearizability",
        /// All rounds of reads in a term have one number, so the answers to the first confirm all others.
        ReadRoundReused: "13: a read races a leader change under a pause" => "linearizability",
        /// A follower of a newer term goes on confirming the old leader's rounds of reads.
        ReadTermUnchecked: "13: a read races a leader change under a pause" => "linearizability",
        /// A follower serves linearizable reads at its own commit index.
        FollowerServesReads: "mutation: read path" => "linearizability",
        /// A snapshot commits a follower's entries although its log is of other terms there (§7).
        SnapshotTermIgnored: "6: gap between snapshot and log" => "state machine safety",
    }
    gossip {
        /// A member answers an accusation under the incarnation that was accused.
        RefutesWithoutOutbidding: "SWIM pitfall: refute with a higher incarnation" => "gossip: no live member is held dead for long",
        /// A member that restarts with its clock set back does not outbid its former self.
        RestartDoesNotOutbid: "SWIM pitfall: a restart outbids its old incarnation" => "gossip: no live member is held dead for long",
        /// A member that hears of its own death does not object.
        AcceptsOwnDeath: "SWIM pitfall: refute with a higher incarnation" => "gossip: no live member is held dead for long",
        /// A helper says that the target has answered before it has asked.
        HelperVouchesUnasked: "mutation: indirect probe" => "gossip: the dead are found dead",
        /// A suspicion runs for hours.
        SuspicionNeverEnds: "mutation: suspicion timeout" => "gossip: the dead are found dead",
        /// An old claim that a member is alive clears it of a suspicion or death of the same incarnation.
        AliveOverridesSuspect: "mutation: precedence of claims" => "gossip: the dead are found dead",
        /// A member that comes back at another address is still sought at the old one.
        AddressNeverChanges: "SWIM pitfall: one name, another address" => "gossip: converges after healing",
        /// A node that was not called for a while judges others by answers it could not read.
        StallBlamesOthers: "SWIM pitfall: suspicion storms when one node stalls" => "gossip: no live member is held dead",
        /// Members of different clusters exchange tables.
        ClustersMix: "SWIM pitfall: the cluster's id in every packet" => "gossip: nobody learns of another cluster",
        /// A packet is read although some of its bytes have changed.
        PacketChecksumUnchecked: "mutation: checksum" => "gossip: every member known exists",
    }
    storage {
        /// A block of the log is reported durable when it is only written.
        BlocksNotSynced: "16: two appends reordered before the sync" => "durable before acknowledged",
        /// A new term or vote is reported durable when it is only written.
        VoteNotSynced: "1: acknowledged before sync" => "durable before acknowledged",
        /// Only one of the two copies of term and vote is written; rot takes it, or brings back the other.
        OneCopyOfVote: "3: a corrupt minority destroys the majority" => "recovery: one copy of the vote suffices",
        /// A new segment gets its name before its header is durable.
        SegmentHeaderNotSynced: "15: no sync before a rename" => "recovery: succeeds where nothing was damaged",
        /// The directory is not synced after a new segment got its name.
        SegmentNameNotSynced: "15: no sync of the directory after a rename" => "recovery: nothing durable is lost",
        /// A snapshot gets its name before its bytes are durable.
        SnapshotNotSynced: "15: no sync before a rename" => "recovery: succeeds where nothing was damaged",
        /// The directory is not synced after a snapshot got its name, and the log before it is dropped.
        SnapshotNameNotSynced: "15: no sync of the directory after a rename" => "recovery: succeeds where nothing was damaged",
        /// Of three snapshots the newest is removed, not the oldest.
        NewestSnapshotRemoved: "6: gap between snapshot and log" => "recovery: succeeds where nothing was damaged",
        /// Segments are retired that hold entries which no snapshot has.
        TruncatesTooEarly: "6: gap between snapshot and log" => "recovery: succeeds where nothing was damaged",
        /// A snapshot is joined to the log on disk although they are of different histories (§7).
        SnapshotJoinUnchecked: "6: crash in mid-snapshot" => "recovery: succeeds where nothing was damaged",
        /// A block that rotted in the middle of the log is cut off as if a crash had torn it.
        DamagedBlockIsTorn: "3: a corrupt minority destroys the majority" => "recovery: damage is reported",
        /// A block that vanished from the middle of the log is taken for its end; the server votes on.
        LostBlockIsEnd: "2: a truncated log still votes" => "recovery: damage is reported",
        /// Blocks that a recycled segment held in its former life are read as this one's.
        StaleBlocksRead: "mutation: records bound to their segment" => "recovery: succeeds where nothing was damaged",
        /// Replay keeps the entries that a later block superseded.
        ConflictNotSuperseded: "12: an append deletes a matching suffix" => "assert: the log has no gap",
        /// What recovery found half done is not finished before the server goes on.
        RepairsSkipped: "mutation: recovery" => "recovery: succeeds where nothing was damaged",
        /// A snapshot is loaded although some of its bytes have changed.
        SnapshotChecksumUnchecked: "mutation: checksum" => "state machine safety",
    }
    node {
        /// A confirmed read is served before the entries that it must see are applied.
        ServesBeforeApplied: "5: reads served before replay completes" => "linearizability",
        /// A round of reads that is under way takes in those that arrive meanwhile.
        RoundTakesLateReads: "mutation: read path" => "linearizability",
        /// Every round of reads has the same number, so a late answer confirms a later round.
        ReadContextReused: "13: a read races a leader change under a pause" => "linearizability",
        /// Reads whose round was lost with the leader are served all the same.
        LostReadsServed: "13: a read races a leader change under a pause" => "linearizability",
        /// Writes of a leader that was lost are sent once more to the next, done or not.
        ForwardedBatchResent: "7: a follower's proxy on failover" => "linearizability",
        /// A client is told that a write was not done when nobody knows.
        UnknownCalledNotDone: "7: a follower's proxy on failover" => "linearizability",
        /// A leader that was replaced goes on waiting for its entries, and answers for others'.
        ProposalsOutliveTerm: "7: a follower's proxy on failover" => "assert: a proposal is committed in its term",
        /// Revisions count entries, not the commands in them.
        RevisionsCountEntries: "mutation: revisions" => "linearizability: revisions are unique",
        /// Of writes that share an entry, those behind a forwarded batch are told a revision too low.
        AnswersWrongRevision: "mutation: revisions" => "linearizability: revisions are unique",
        /// A snapshot says that it ends one entry before it does.
        SnapshotCutTooEarly: "6: gap between snapshot and log" => "state machine safety",
        /// Whoever starts from a snapshot counts its revisions anew.
        SnapshotForgetsRevision: "6: gap between snapshot and log" => "state machine safety",
        /// Whoever installs a snapshot goes on counting revisions where it was.
        InstallKeepsRevision: "6: gap between snapshot and log" => "state machine safety",
        /// A snapshot names the members that there were when the server started.
        SnapshotKeepsOldConfiguration: "11: a snapshot keeps stale membership" => "quorum overlap",
        /// A voter that gossip holds dead is removed.
        DeadVotersRemoved: "17: automatic removal shrinks the quorum" => "voters never below the floor",
        /// Whoever was removed is let in again as long as it is alive.
        RemovedLetInAgain: "pitfall: the removed member's return" => "liveness",
        /// A server with an empty disk makes a cluster of its own before its seeds can have answered.
        FoundsWithoutAsking: "17: a rolling restart loses the cluster" => "one cluster",
        /// A server without a cluster enters any that it hears of, its seeds' or a stranger's.
        EntersUninvited: "SWIM pitfall: clusters that mix" => "one cluster",
        /// Whatever becomes durable, all messages that wait for the disk leave.
        PersistReleasesAll: "1: acknowledged before sync" => "durable before acknowledged",
    }
    lane {
        /// The node is told that a write is durable before it is begun.
        TellsBeforeWriting: "1: acknowledged before sync" => "durable before acknowledged",
        /// The node is told that a snapshot is installed before it has its name.
        InstalledBeforeNamed: "6: crash in mid-snapshot" => "state machine safety",
        /// Of two terms or votes that are written together, the older one is.
        GroupKeepsOldVote: "mutation: group commit" => "durable before acknowledged",
    }
}

impl Bug {
    /// The bug with a name in kebab case.
    #[must_use]
    pub fn named(name: &str) -> Option<Bug> {
        Bug::ALL.iter().copied().find(|bug| bug.name() == name)
    }

    /// Its name in kebab case.
    #[must_use]
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_found_by_its_name() {
        assert_eq!(Bug::CommitsPriorTerm.name(), "commits-prior-term");
        assert!(Bug::ALL.iter().all(|bug| Bug::named(&bug.name()) == Some(*bug)));
        assert_eq!(Bug::named("no-such-bug"), None);
    }

    #[test]
    fn one_bug_is_planted_at_a_time() {
        plant(Some(Bug::VotesTwice));
        plant(Some(Bug::CommitsPriorTerm));
        assert!(is(Bug::CommitsPriorTerm) && !is(Bug::VotesTwice));
        plant(None);
        assert!(!is(Bug::CommitsPriorTerm));
    }

    #[test]
    fn what_a_bug_breaks_is_a_sentence() {
        for bug in Bug::ALL {
            assert!(bug.breaks().ends_with('.') && !bug.breaks().starts_with(' '), "{bug:?}");
        }
    }
}
