// SPDX-License-Identifier: Apache-2.0
/*
 * The mappings of one IOAS: disjoint chunks in a treap, a search tree by IOVA that is a heap by
 * random priority. Splitting and joining are its only operations on shape, and what a
 * synchronisation needs: cut the changed range out, make it anew, put it back.
 *
 * The guest chooses the keys but does not see the priorities, so that the expected depth is
 * logarithmic whatever it maps.
 */
#include "devices/vfio/shadow.h"

struct vfio_chunk *vfio_chunk_find(struct vfio_chunk *tree, uint64_t iova)
{
	while (tree) {
		if (iova < tree->iova)
			tree = tree->left;
		else if (iova > vfio_chunk_last(tree))
			tree = tree->right;
		else
			return tree;
	}
	return NULL;
}

void vfio_chunk_split(struct vfio_chunk *tree, uint64_t iova, struct vfio_chunk **below,
		      struct vfio_chunk **above)
{
	while (tree) {
		if (tree->iova < iova) {
			*below = tree;
			below = &tree->right;
			tree = tree->right;
		} else {
			*above = tree;
			above = &tree->left;
			tree = tree->left;
		}
	}
	*below = NULL;
	*above = NULL;
}

struct vfio_chunk *vfio_chunk_join(struct vfio_chunk *below, struct vfio_chunk *above)
{
	struct vfio_chunk *tree = NULL, **link = &tree;

	while (below && above) {
		if (below->priority >= above->priority) {
			*link = below;
			link = &below->right;
			below = below->right;
		} else {
			*link = above;
			link = &above->left;
			above = above->left;
		}
	}
	*link = below ? below : above;
	return tree;
}

struct vfio_chunk *vfio_chunk_list(struct vfio_chunk *tree)
{
	struct vfio_chunk *list = NULL, **link = &list;

	/* Rotate each left child up until the tree is its own list. */
	while (tree) {
		struct vfio_chunk *left = tree->left;

		if (left) {
			tree->left = left->right;
			left->right = tree;
			tree = left;
		} else {
			*link = tree;
			link = &tree->right;
			tree = tree->right;
		}
	}
	return list;
}
