package translate

// The URNs of Beam's model (beam_runner_api.proto, standard_window_fns.proto)
// that translation tells apart.
const (
	urnParDo           = "beam:transform:pardo:v1"
	urnFlatten         = "beam:transform:flatten:v1"
	urnExecutableStage = "beam:runner:executable_stage:v1"
	urnGroupByKey      = "beam:transform:group_by_key:v1"
	urnImpulse         = "beam:transform:impulse:v1"
	urnWindowInto      = "beam:transform:window_into:v1"
	urnTestStream      = "beam:transform:teststream:v1"
	urnMapWindows      = "beam:transform:map_windows:v1"
	urnMergeWindows    = "beam:transform:merge_windows:v1"
	urnToString        = "beam:transform:to_string:v1"
	urnCreateView      = "beam:transform:create_view:v1"
	urnReshuffle       = "beam:transform:reshuffle:v1"
	urnRedistribute    = "beam:transform:redistribute_arbitrarily:v1"
	urnRedistributeBy  = "beam:transform:redistribute_by_key:v1"
	urnIdentityDoFn    = "beam:dofn:identity:0.1"

	urnCombinePerKey     = "beam:transform:combine_per_key:v1"
	urnPrecombine        = "beam:transform:combine_per_key_precombine:v1"
	urnMergeAccumulators = "beam:transform:combine_per_key_merge_accumulators:v1"
	urnExtractOutputs    = "beam:transform:combine_per_key_extract_outputs:v1"
	urnConvertToAccum    = "beam:transform:combine_per_key_convert_to_accumulators:v1"
	urnCombineGrouped    = "beam:transform:combine_grouped_values:v1"

	urnPairWithRestriction = "beam:transform:sdf_pair_with_restriction:v1"
	urnSplitAndSize        = "beam:transform:sdf_split_and_size_restrictions:v1"
	urnProcessSized        = "beam:transform:sdf_process_sized_element_and_restrictions:v1"
	urnTruncateSized       = "beam:transform:sdf_truncate_sized_restrictions:v1"

	urnIterableSide = "beam:side_input:iterable:v1"
	urnMultimapSide = "beam:side_input:multimap:v1"

	urnBagState         = "beam:user_state:bag:v1"
	urnMultimapState    = "beam:user_state:multimap:v1"
	urnOrderedListState = "beam:user_state:ordered_list:v1"

	urnGlobalWindows  = "beam:window_fn:global_windows:v1"
	urnFixedWindows   = "beam:window_fn:fixed_windows:v1"
	urnSlidingWindows = "beam:window_fn:sliding_windows:v1"
	urnSessionWindows = "beam:window_fn:session_windows:v1"

	urnBytes               = "beam:coder:bytes:v1"
	urnStringUTF8          = "beam:coder:string_utf8:v1"
	urnKV                  = "beam:coder:kv:v1"
	urnBool                = "beam:coder:bool:v1"
	urnVarInt              = "beam:coder:varint:v1"
	urnDouble              = "beam:coder:double:v1"
	urnIterable            = "beam:coder:iterable:v1"
	urnTimer               = "beam:coder:timer:v1"
	urnIntervalWindow      = "beam:coder:interval_window:v1"
	urnLengthPrefix        = "beam:coder:length_prefix:v1"
	urnGlobalWindow        = "beam:coder:global_window:v1"
	urnWindowedValue       = "beam:coder:windowed_value:v1"
	urnParamWindowedValue  = "beam:coder:param_windowed_value:v1"
	urnStateBackedIterable = "beam:coder:state_backed_iterable:v1"
	urnCustomWindow        = "beam:coder:custom_window:v1"
	urnRow                 = "beam:coder:row:v1"
	urnShardedKey          = "beam:coder:sharded_key:v1"
	urnNullable            = "beam:coder:nullable:v1"
	// urnGoCustom is the Go SDK's coder of its own: it always writes a length
	// before its bytes, and reads a length_prefix around itself as itself.
	urnGoCustom = "beam:go:coder:custom:v1"

	// The transforms of a bundle descriptor that stand for the data streams.
	urnDataSource = "beam:runner:source:v1"
	urnDataSink   = "beam:runner:sink:v1"
)

// requirements are those of StandardRequirements, all of them supported.
var requirements = map[string]bool{
	"beam:requirement:pardo:stateful:v1":             true,
	"beam:requirement:pardo:finalization:v1":         true,
	"beam:requirement:pardo:stable_input:v1":         true,
	"beam:requirement:pardo:time_sorted_input:v1":    true,
	"beam:requirement:pardo:splittable_dofn:v1":      true,
	"beam:requirement:pardo:on_window_expiration:v1": true,
}
