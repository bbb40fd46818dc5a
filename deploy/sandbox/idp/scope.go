package idp

import (
	"slices"
	"strings"
)

// resources are the resource principals of a tenant, with the names under which a scope may ask for them. A token's
// audience is the name that was used.
var resources = map[string]string{
	Outlook365: Outlook365, Outlook: Outlook, Graph: Graph,
	"https://ps.outlook.com":               Outlook365,
	"00000002-0000-0ff1-ce00-000000000000": Outlook365, "00000003-0000-0000-c000-000000000000": Graph,
}

// parseScope splits the scope parameter into one resource and its permissions. With first, further resources are left
// out, as the refresh grant does; otherwise they are AADSTS700022.
func (r *request) parseScope(first bool) error {
	all := strings.Fields(r.get("scope"))
	if len(all) == 0 {
		return refuse(900144, "scope")
	}
	for _, scope := range all {
		switch scope {
		case "openid":
			r.openid = true
			continue
		case "profile", "email":
			continue
		case "offline_access":
			r.offline = true
			continue
		}
		if err := r.addScope(scope, first); err != nil {
			return err
		}
	}
	if r.resource == "" {
		r.resource, r.scopes = Graph, []string{"User.Read"} // openid alone is a sign-in: its token is Graph's
	}
	return nil
}

func (r *request) addScope(scope string, first bool) error {
	resource, permission, ok := splitScope(scope)
	if !ok {
		return refuse(70011, scope)
	}
	audience, ok := resources[resource]
	if !ok {
		return refuse(500011, resource, r.tenant.ID)
	}
	switch {
	case r.resource == "" || r.resource == audience:
		r.resource = audience
		r.scopes = append(r.scopes, permission)
	case !first:
		return refuse(700022, r.get("scope"))
	}
	return nil
}

// splitScope parts "https://host/Permission"; a bare permission is Graph's.
func splitScope(scope string) (resource, permission string, ok bool) {
	i := strings.LastIndexByte(scope, '/')
	if i < 0 {
		return Graph, scope, scope == ".default" || graphPermission(scope) || mailPermission(scope)
	}
	// "https://graph.microsoft.com//.default" is how a resource with a final slash is written.
	resource, permission = strings.TrimSuffix(scope[:i], "/"), scope[i+1:]
	return resource, permission, permission != "" && strings.Trim(resource, "/") != "" && resource != "https:"
}

// permissionsOf returns those permissions of a list that belong to a resource, without their prefix.
func permissionsOf(resource string, list []string) []string {
	var out []string
	for _, p := range list {
		p = p[strings.LastIndexByte(p, '/')+1:]
		if (resource == Graph) == graphPermission(p) {
			out = append(out, p)
		}
	}
	return out
}

// mailPermission knows the permissions of Exchange Online, delegated and application ones.
func mailPermission(p string) bool {
	return slices.Contains([]string{
		"IMAP.AccessAsApp", "POP.AccessAsApp", "SMTP.SendAsApp", "full_access_as_app",
		"IMAP.AccessAsUser.All", "POP.AccessAsUser.All", "SMTP.Send", "EWS.AccessAsUser.All",
	}, p)
}

// graphPermission takes everything with a dot that is not Exchange's for one of Graph's many.
func graphPermission(p string) bool {
	return strings.Contains(p, ".") && p != ".default" && !mailPermission(p)
}
