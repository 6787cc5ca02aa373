"""One image or one feature map at several scales: resizing, fusion, integration, and models around a backbone."""
