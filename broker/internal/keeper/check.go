package keeper

import "context"

// Check asks the provider for a token now, whether one is due or not, and returns nil or what Ask would. It costs nothing
// of the budget of refused tokens; a credential that is frozen or held back is not tried: Reset it first.
func (k *Keeper) Check(ctx context.Context, w Wish) error {
	s := k.slot(w)
	need := want{margin: w.Margin, ahead: true}
	if h := s.held.Load(); h != nil {
		need.newer = h.token.Generation
	}
	_, err := k.await(ctx, s, w, need)
	return err
}
