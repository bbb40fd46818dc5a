package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"mailporter/sandbox/internal/stage"
)

// chaos kills the programs with SIGKILL, one after the other and each several times, at moments nobody chose, until ctx
// ends or the rounds are done.
func (d *demo) chaos(ctx context.Context, rounds int) error {
	for round := range rounds {
		for _, i := range rand.Perm(len(d.programs)) {
			select {
			case <-time.After(time.Duration(400+rand.IntN(900)) * time.Millisecond):
			case <-ctx.Done():
				return nil
			}
			p := d.programs[i]
			if p.Name == "broker" {
				if err := d.tally.look(ctx); err != nil {
					return err
				}
				d.tally.closeBooks()
			}
			fmt.Fprintf(d.out, "chaos: kill -9 %s (round %d)\n", p.Name, round+1)
			if err := p.Kill(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func kills(programs []*stage.Program) int {
	n := 0
	for _, p := range programs {
		n += p.Kills
	}
	return n
}
