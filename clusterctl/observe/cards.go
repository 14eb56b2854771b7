package observe

import "picluster/internal/joinapi"

// knownAs is the name of a node's card.
func knownAs(f *facts, name string) string {
	if c := cardOf(f.cards, name); c != nil && c.Name != "" {
		return c.Name
	}
	return name
}

// label is the best name that a card has.
func label(c *joinapi.CardStatus) string {
	if c.Node != "" {
		return c.Node
	}
	return c.Name
}

// cardOf is the card of a node that counts: the newest that is not out.
func cardOf(cards []joinapi.CardStatus, name string) *joinapi.CardStatus {
	var best *joinapi.CardStatus
	for i := range cards {
		c := &cards[i]
		if label(c) != name {
			continue
		}
		if best == nil || best.State.Out() && !c.State.Out() || best.State.Out() == c.State.Out() && c.Generation > best.Generation {
			best = c
		}
	}
	return best
}

// CardName is the name on a node's card, the node's own where it is not known.
func CardName(cards []joinapi.CardStatus, node string) string {
	return knownAs(&facts{cards: cards}, node)
}

// CardID is the id of a node's card that counts, "" if it has none.
func CardID(cards []joinapi.CardStatus, node string) string {
	if c := cardOf(cards, node); c != nil {
		return c.CardID
	}
	return ""
}
