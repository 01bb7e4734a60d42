package engine

// mutation switches off one of the checks that keep an invariant. Only tests
// set it: they prove that the simulation would notice.
type mutation uint8

const (
	intact mutation = iota
	// emitEarly queues outputs when a bundle ends, not when it commits (I1).
	emitEarly
	// reverseCommits hands the commits of a step out in the wrong order (I2).
	reverseCommits
	// ignoreDurable gives stable-input stages what is not durable (I3).
	ignoreDurable
	// shareShards lets two bundles have an exclusive shard (I4).
	shareShards
	// ignoreHolds, ignorePending and ignoreFlight let watermarks pass (I5).
	ignoreHolds
	ignorePending
	ignoreFlight
	// moveBack lets late blocks draw watermarks back (I5).
	moveBack
	// ignoreSplits has a bundle keep what its split gave away (I6).
	ignoreSplits
	// freeEarly frees a block after its first reader (I8).
	freeEarly
	// runAhead tells bundles a watermark that pending blocks still hold (I12).
	runAhead
	// commitAnyOrder commits bundles as they end (I13).
	commitAnyOrder
	// queueResiduals puts the residual of a split behind bundles that were formed
	// before (I13).
	queueResiduals
	// overtake lets blocks pass others that wait at the same gate (I13).
	overtake
	// hurryEarly commits an early bundle before its producer (I1), keepFallen one
	// whose producer has failed (I6), earlyUnstable starts bundles early that want
	// stable input (I3), earlyShared does not reserve their shards (I4), earlyBehind
	// starts behind others, which may be split (I13), earlyDeep goes on from one to
	// the next.
	hurryEarly
	keepFallen
	earlyUnstable
	earlyShared
	earlyBehind
	earlyDeep
	// ignoreGates, ignoreRest, ignoreOutbox and mixShards break rules that have
	// no number.
	ignoreGates
	ignoreRest
	ignoreOutbox
	mixShards
	// loseSplit, reformEntries, loseHolds, delayProgress, loseGates, reorderSplit,
	// loseFloor and loseDrain leave something out of the image (I2, I10).
	loseSplit
	reformEntries
	loseHolds
	delayProgress
	loseGates
	reorderSplit
	loseFloor
	loseDrain
	mutations
)
