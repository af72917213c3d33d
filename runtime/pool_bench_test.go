package runtime

import (
	"context"
	"testing"

	commons "github.com/jolestar/go-commons-pool/v2"
)

// BenchmarkPool borrows and gives back one of ten instances, ours beside the
// bare library: the difference is the price of the defences.
func BenchmarkPool(b *testing.B) {
	ctx := context.Background()
	none := func(context.Context, *item) error { return nil }
	f := newFleet()
	p := startPool(b, f, PoolPolicy{})
	b.Cleanup(func() { closePool(b, p, f) })
	library := commons.NewObjectPool(ctx,
		commons.NewPooledObjectFactorySimple(func(context.Context) (any, error) { return new(item), nil }),
		commons.NewDefaultPoolConfig())
	b.Cleanup(func() { library.Close(ctx) })
	ours := func(b *testing.B) {
		if err := p.Do(ctx, none); err != nil {
			b.Error(err)
		}
	}
	bare := func(b *testing.B) {
		o, err := library.BorrowObject(ctx)
		if err != nil {
			b.Error(err)
		}
		if err := library.ReturnObject(ctx, o); err != nil {
			b.Error(err)
		}
	}
	for _, bench := range []struct {
		name string
		once func(*testing.B)
	}{{"ours", ours}, {"library", bare}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bench.once(b)
			}
		})
		b.Run(bench.name+"-parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					bench.once(b)
				}
			})
		})
	}
}
