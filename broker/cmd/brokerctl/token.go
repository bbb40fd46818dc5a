package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

func tokens() *cobra.Command {
	t := &target{}
	c := &cobra.Command{
		Use:   "token",
		Short: "what the access tokens allow",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	t.flags(c)
	c.AddCommand(inspect(t))
	return c
}

func inspect(t *target) *cobra.Command {
	var side string
	c := &cobra.Command{
		Use:   "inspect ADDRESS",
		Short: "print the claims of a mailbox's token, never the token",
		Long: "Asks the broker for the mailbox's token and prints what stands in it: for whom it is (aud), what it allows (roles, scp), until\n" +
			"when. The token itself is not printed. Your identity needs the verb token, and tenant-wide where the token is.\n" +
			"No roles in an app-only token means that no administrator consented to the application permission.",
		Example:           "  brokerctl token inspect support@contoso.com --side out",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: t.addresses,
		RunE: func(c *cobra.Command, args []string) error {
			if err := oneOf("side", side, bothSides); err != nil {
				return err
			}
			direction := brokerv1.Direction_DIRECTION_INBOUND
			if side == "out" {
				direction = brokerv1.Direction_DIRECTION_OUTBOUND
			}
			return t.dial(c.Context(), func(ctx context.Context, conn *grpc.ClientConn) error {
				r, err := brokerv1.NewTokenServiceClient(conn).AcquireToken(ctx, &brokerv1.AcquireTokenRequest{
					Selector: &brokerv1.Selector{Mailbox: args[0], Direction: direction}})
				if err != nil {
					return err
				}
				return t.claims(c.OutOrStdout(), r)
			})
		},
	}
	c.Flags().StringVar(&side, "side", "in", "in or out")
	_ = c.RegisterFlagCompletionFunc("side", cobra.FixedCompletions(bothSides, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// telling are the claims that explain what a token allows. The rest is the provider's own, some of it good for tracking.
var telling = []string{"aud", "iss", "tid", "appid", "azp", "app_displayname", "idtyp", "oid", "sub", "upn", "preferred_username", "roles", "scp", "iat", "nbf", "exp", "ver"}

// claims prints what stands in the token. It prints nothing that could be used as one: the signature is dropped.
func (t *target) claims(w io.Writer, r *brokerv1.AcquireTokenResponse) error {
	token := r.GetAccessToken()
	if token == nil {
		return &wrongError{errors.New("this side logs in with a password: there is no token")}
	}
	all := map[string]any{}
	if payload, ok := jwtPayload(token.GetValue()); ok {
		for _, name := range telling {
			if value, ok := payload[name]; ok {
				all[name] = value
			}
		}
	} else {
		all["opaque"] = "the provider's tokens are not readable; what they allow is known to the provider alone"
	}
	all["broker.fingerprint"] = fmt.Sprintf("%x", token.GetFingerprint()[:min(6, len(token.GetFingerprint()))])
	all["broker.sasl-user"] = token.GetSaslUser()
	all["broker.expires"] = token.GetExpireTime().AsTime().Format(time.RFC3339)
	if t.output == "json" {
		return printJSON(w, all)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(table, "%s\t%s\n", name, readable(name, all[name]))
	}
	return table.Flush()
}

// jwtPayload is the second part of a JWT, RFC 7519; most providers' tokens are none.
func jwtPayload(token string) (map[string]any, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, false
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return nil, false
	}
	var payload map[string]any
	if err := json.Unmarshal(b, &payload); err != nil || payload == nil {
		return nil, false
	}
	return payload, true
}

// readable writes times as times and lists as words.
func readable(name string, value any) string {
	switch v := value.(type) {
	case float64:
		if slices.Contains([]string{"exp", "iat", "nbf", "auth_time"}, name) {
			return time.Unix(int64(v), 0).UTC().Format(time.RFC3339)
		}
		return fmt.Sprintf("%.0f", v)
	case []any:
		words := make([]string, len(v))
		for i := range v {
			words[i] = fmt.Sprint(v[i])
		}
		return strings.Join(words, ", ")
	}
	return fmt.Sprint(value)
}
