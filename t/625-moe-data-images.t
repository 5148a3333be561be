#!/bin/sh
# moe-data images and shapes: each format read and written, and what is wrong with a file told.
. t/lib.sh
cd "$T" || exit 1

# Byte values as an octal string for printf.
bytes() {
	for b in "$@"; do printf "\\$(printf %03o "$b")"; done
}
# N bytes of value V.
fill() {
	head -c "$1" /dev/zero | tr '\0' "$(printf '\\%03o' "$2")"
}
images() {
	moe-data images "$@"
}

# --- records: label 5 with pixels 1, label 258 with pixels 2
{ bytes 5 0; fill 3072 1; bytes 2 1; fill 3072 2; } >two.bin
ok "records are read" images --format records two.bin -o count.csv
is "$(awk -F, '$3 == 1 { printf "%s ", $1 }' count.csv)" "5 258 " "a sample of class 5, one of 258"
is "$(wc -l <count.csv)" 260 "a row for each class, also for those without"
is "$(sed -n 2p count.csv)" "0,,0,3,32,32" "class, name, samples, shape"
ok "records to records" images --format records --to records -o again.bin two.bin
same two.bin again.bin "unchanged"
ok "records to csv" images --format records --to csv -o two.csv two.bin
is "$(cut -d, -f1-3 two.csv | tr '\n' ' ')" "class,x0,x1 5,1,1 258,2,2 " "class, then pixels by row"
gzip -k two.bin
ok "gzip is read" images --to csv -o zipped.csv two.bin.gz
same two.csv zipped.csv "alike"
head -c 40 two.bin.gz >cut.gz
fails 1 "gzip cut short" images cut.gz
says 'cut.gz' "is named"

# --- shapes of records
{ bytes 1 0 10 20 30 40; bytes 0 0 50 60 70 80; } >four.bin
fails 1 "a shape that no known set has" images four.bin
says 'four.bin: 12 bytes are records of no known shape' "and what to tell"
ok "told, it is read" images --pixels 1x2x2 --to csv -o four.csv four.bin
is "$(tail -n +2 four.csv | tr '\n' ' ')" "1,10,20,30,40 0,50,60,70,80 " "and has these pixels"
fails 1 "a file that ends in a record" images --pixels 1x2x3 four.bin
says 'four.bin: 12 bytes, of which the last 4 are no record of 8' "says where"
fails 2 "a shape of nothing" images --pixels 1x2 four.bin
says 'no shape' "is told"
bytes 255 255 1 2 3 4 >high.bin
fails 1 "the label 65535" images --pixels 1x2x2 high.bin
says 'sample 0 has label 65535 \(expected below 65535\)' "is out of range"
: >empty.bin
fails 1 "an empty file" images empty.bin
fails 1 "no file" images absent.bin

# --- CIFAR
{ bytes 7; fill 3072 9; bytes 3; fill 3072 8; } >c10.bin
ok "cifar10 is known by its length" images --to csv -o c10.csv c10.bin
is "$(cut -d, -f1-2 c10.csv | tr '\n' ' ')" "class,x0 7,9 3,8 " "and its labels are a byte"
ok "and written" images --to cifar10 -o c10b.bin c10.bin
same c10.bin c10b.bin "unchanged"
{ bytes 1 7; fill 3072 9; } >c100.bin
ok "cifar100 when told" images --format cifar100 --to csv -o c100.csv c100.bin
is "$(tail -n 1 c100.csv | cut -d, -f1-2)" "7,9" "its fine label counts"
fails 1 "grey images" images --pixels 1x2x2 --to cifar10 -o no.bin four.bin
says 'CIFAR has' "are no CIFAR"
ok "and no file is left" test ! -e no.bin

# --- IDX
{ bytes 0 0 8 3 0 0 0 2 0 0 0 2 0 0 0 3; bytes 1 2 3 4 5 6 7 8 9 10 11 12; } >t-images-idx3-ubyte
{ bytes 0 0 8 1 0 0 0 2; bytes 4 2; } >t-labels-idx1-ubyte
ok "idx finds its labels" images --to csv -o idx.csv t-images-idx3-ubyte
is "$(tail -n +2 idx.csv | tr '\n' ' ')" "4,1,2,3,4,5,6 2,7,8,9,10,11,12 " "and pairs them"
gzip -c t-images-idx3-ubyte >z-images-idx3-ubyte.gz
gzip -c t-labels-idx1-ubyte >z-labels-idx1-ubyte.gz
ok "in gzip, too" images --to csv -o idxz.csv z-images-idx3-ubyte.gz
same idx.csv idxz.csv "alike"
cp t-labels-idx1-ubyte u-images-idx3-ubyte
cp t-labels-idx1-ubyte u-labels-idx1-ubyte
fails 1 "images of wrong magic" images --format idx u-images-idx3-ubyte
says 'not IDX of bytes with 3 dimensions' "are told"
head -c 20 t-images-idx3-ubyte >s-images-idx3-ubyte
fails 1 "idx cut short" images s-images-idx3-ubyte
says '4 bytes of data \(expected 12\)' "is told"
cp t-images-idx3-ubyte other
fails 1 "idx without a place for labels" images other
says 'where are its labels' "is told"
ok "unless they are named" images --labels t-labels-idx1-ubyte other
{ bytes 0 0 8 1 0 0 0 1; bytes 4; } >few
fails 1 "labels for one of two images" images --labels few other
says '1 labels for 2 images' "are counted"
fails 1 "labels of wrong magic" images --labels t-images-idx3-ubyte other
says 'not IDX of bytes with 1 dimension' "are told"

# --- CSV
printf 'x,class,y\n1,b,2\n3,a,4.5\n' >named.csv
ok "csv by names" images named.csv -o named.out
is "$(cut -d, -f1-3 named.out | tr '\n' ' ')" "class,name,samples 0,a,1 1,b,1 " "classes in order"
ok "and rewritten" images --to csv -o named2.csv named.csv
is "$(tr '\n' ' ' <named2.csv)" "class,x0,x1 b,1,2 a,3,4.5 " "the class first"
printf 'T,2,8\nI,5,12\n' >bare.csv
ok "csv without a header" images --to csv -o bare2.csv bare.csv
is "$(tr '\n' ' ' <bare2.csv)" "class,x0,x1 T,2,8 I,5,12 " "loses no sample"
printf '2,8,1\n5,12,0\n' >last.csv
ok "csv of numbers alone" images --to csv -o last2.csv last.csv
is "$(tr '\n' ' ' <last2.csv)" "class,x0,x1 1,2,8 0,5,12 " "has its class last"
printf 'x,class,y\n1,0,2\n3,1,oh\n' >word.csv
fails 1 "a word among features" images word.csv
says 'word.csv:3: feature 3: "oh"' "is found"
printf 'x,y\n1,2\n' >none.csv
fails 1 "a table without a class" images none.csv
says 'none.csv:1: no class' "is told"
fails 1 "features are no records" images --to records -o no.bin named.csv
says 'expected csv' "and say so"

# --- shapes
ok "shapes" moe-data shapes --classes 30 --samples 90 --seed 7 -o a.bin
ok "again" moe-data shapes --classes 30 --samples 90 --seed 7 -o b.bin
same a.bin b.bin "the same"
ok "with another seed" moe-data shapes --classes 30 --samples 90 --seed 8 -o c.bin
fails 1 "they differ" cmp -s a.bin c.bin
is "$(wc -c <a.bin)" $((90 * 3074)) "records of 3x32x32"
ok "counted" images a.bin -o a.csv
is "$(column a.csv samples | sort -u)" 3 "as many of each class"
is "$(wc -l <a.csv)" 31 "of thirty classes"
fails 2 "one class" moe-data shapes --classes 1 -o d.bin
fails 2 "an option of another command" moe-data shapes --vocab 300 -o d.bin
says 'vocab does not go with shapes' "is refused"
fails 1 "a full disk" moe-data shapes --samples 90 -o /dev/full
done_testing
