package fnapi

import fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"

type cacheToken = fnpb.ProcessBundleRequest_CacheToken

// cacheTokens puts the bundle's tokens (I11) in the form of the protocol.
func cacheTokens(b *Bundle) []*cacheToken {
	var tokens []*cacheToken
	if len(b.UserStateToken) > 0 {
		tokens = append(tokens, &cacheToken{
			Type:  &fnpb.ProcessBundleRequest_CacheToken_UserState_{UserState: &fnpb.ProcessBundleRequest_CacheToken_UserState{}},
			Token: b.UserStateToken,
		})
	}
	for _, t := range b.SideInputTokens {
		tokens = append(tokens, &cacheToken{
			Type: &fnpb.ProcessBundleRequest_CacheToken_SideInput_{SideInput: &fnpb.ProcessBundleRequest_CacheToken_SideInput{
				TransformId: string(t.Transform), SideInputId: t.Name,
			}},
			Token: t.Token,
		})
	}
	return tokens
}
